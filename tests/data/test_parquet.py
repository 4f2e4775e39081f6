from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demask.data.images import UnreadableImageError
from demask.data.parquet import ParquetImages


def write(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | str | None] | None,
    names: Sequence[str] | None = None,
    rows: int = 2,
    **others: Sequence[object],
) -> Path:
    """A parquet file as Hugging Face writes it, ``rows`` rows a group."""
    columns = {"image": [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)]}
    if labels is not None:
        columns["label"] = list(labels)
    columns |= others
    table = pa.table(columns)
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=rows)
    return path


def colours(count: int, encode: object) -> list[bytes]:
    return [encode((i, 0, 0)) for i in range(count)]


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_any_order_gives_the_same_images(tmp_path: Path, encode: object, cache_bytes: int) -> None:
    first = write(tmp_path / "a.parquet", colours(5, encode), [0, 1, 2, 0, 1])
    second = write(tmp_path / "b.parquet", [encode((9, 0, 0))], [2])
    images = ParquetImages([first, second], cache_bytes=cache_bytes)
    assert len(images) == 6
    assert images.class_names == ("0", "1", "2")
    for index in (5, 0, 3, 2, 4, 1, 5, 0):
        image = images[index]
        assert image.image.getpixel((0, 0)) == ((0, 1, 2, 3, 4, 9)[index], 0, 0)
        assert image.image.size == (8, 6)
        assert image.label == (0, 1, 2, 0, 1, 2)[index]
        assert image.captions == ()
    assert images[3].name == "a.parquet[3] (3.png)"
    with pytest.raises(IndexError):
        images[6]


def test_the_cache_stays_within_its_bytes(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(20, encode), None)
    images = ParquetImages([path], cache_bytes=600)
    for index in range(20):
        assert images[index].image.getpixel((0, 0)) == (index, 0, 0)
        held = images._cache._columns
        assert len(held) == 1 or images._cache._bytes() <= 600
    assert len(ParquetImages([path])._cache._columns) == 0


def test_class_names_of_the_schema(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), [1, 0], ["cat", "dog"])
    images = ParquetImages([path])
    assert images.class_names == ("cat", "dog")
    assert [images[i].label for i in range(2)] == [1, 0]
    turned = ParquetImages([path], class_names=["dog", "cat"])
    assert [turned[i].label for i in range(2)] == [0, 1]


def test_labels_by_name_and_no_labels(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), ["ship", "cat"])
    assert ParquetImages([path]).labels == [1, 0]
    path = write(tmp_path / "b.parquet", colours(2, encode), None)
    assert ParquetImages([path]).class_names == ("pictures",)


def test_broken_rows_are_unreadable_images(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", [encode(), b"junk", b"", None], None)
    images = ParquetImages([path])
    assert images[0].image.size == (8, 6)
    for index in (1, 2, 3):
        with pytest.raises(UnreadableImageError, match=rf"a\.parquet\[{index}\] "):
            images[index]


def test_the_fingerprint_follows_the_images(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(3, encode), None)
    before = ParquetImages([path]).fingerprint
    assert ParquetImages([path]).fingerprint == before
    write(path, [*colours(2, encode), encode("blue")], None)
    assert ParquetImages([path]).fingerprint != before


def test_files_that_can_not_be_used(tmp_path: Path, encode: object) -> None:
    whole = write(tmp_path / "whole.parquet", colours(3, encode), None)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cut.parquet is no readable parquet file"):
        ParquetImages([cut])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["a"]}), other)
    with pytest.raises(ValueError, match="other.parquet has no column 'image' or 'img'; .*: text"):
        ParquetImages([other])
    with pytest.raises(ValueError, match="other.parquet has other columns than"):
        ParquetImages([whole, other])
    labelled = write(tmp_path / "labelled.parquet", colours(2, encode), [0, -1])
    with pytest.raises(ValueError, match="labelled.parquet: the label -1 is below 0"):
        ParquetImages([labelled])


def captions(path: Path, columns: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    images = ParquetImages([path], caption_columns=columns)
    return [images[i].captions for i in range(len(images))]


def test_captions_and_their_aliases(tmp_path: Path, encode: object) -> None:
    path = write(
        tmp_path / "a.parquet",
        colours(3, encode),
        None,
        text=["a dog ", "a cat", None],
        aliases=[["dog", "hound", "a dog"], [], None],
    )
    assert captions(path) == [("a dog", "dog", "hound"), ("a cat",), ()]
    assert captions(path, ["text"]) == [("a dog",), ("a cat",), ()]
    assert captions(path, ["aliases", "text"])[0] == ("dog", "hound", "a dog")
    assert captions(path, []) == [()] * 3
    with pytest.raises(ValueError, match="a.parquet has no column 'name'; it has: image, text, al"):
        captions(path, ["name"])


def test_the_first_of_the_usual_columns(tmp_path: Path, encode: object) -> None:
    lists = [["one", "two"], [" "]]
    path = write(tmp_path / "a.parquet", colours(2, encode), None, text=["x", "y"], captions=lists)
    assert captions(path) == [("one", "two"), ()]
    path = write(tmp_path / "b.parquet", colours(2, encode), None, aliases=lists)
    assert captions(path) == [(), ()], "others without a main one are no captions"
    path = write(tmp_path / "c.parquet", colours(2, encode), None, text=[1, 2])
    with pytest.raises(ValueError, match="c.parquet: a caption must be text, not int: 1"):
        captions(path)


def test_other_captions_make_other_images(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), None, text=["x", "y"])
    every = [ParquetImages([path], caption_columns=columns) for columns in (None, ["text"], [])]
    assert every[0].fingerprint == every[1].fingerprint != every[2].fingerprint


def test_scores(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(3, encode), None, score=[6.5, None, 7.0])
    images = ParquetImages([path])
    assert [images[i].score for i in range(3)] == [6.5, None, 7.0]
    assert images.fingerprint == ParquetImages([path]).fingerprint
    path = write(tmp_path / "b.parquet", colours(2, encode), None, score=["6", "good"])
    with pytest.raises(ValueError, match="b.parquet: a score must be a number, not 'good'"):
        ParquetImages([path])
    bare = ParquetImages([write(tmp_path / "c.parquet", colours(1, encode), None)])
    assert bare[0].score is None


def test_other_scores_make_other_images(tmp_path: Path, encode: object) -> None:
    images = ParquetImages([write(tmp_path / "a.parquet", colours(2, encode), None)])
    bare = images.fingerprint
    images.scores = [None, 5.0]
    scored = images.fingerprint
    images.scores = [5.0, None]
    assert len({bare, scored, images.fingerprint}) == 3

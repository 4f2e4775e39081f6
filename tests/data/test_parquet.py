from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demask.data.parquet import ParquetPictures
from demask.data.pictures import UnreadablePictureError


def write(
    path: Path,
    pictures: Sequence[bytes | None],
    labels: Sequence[int | str | None] | None,
    names: Sequence[str] | None = None,
    rows: int = 2,
    **others: Sequence[object],
) -> Path:
    """A parquet file as Hugging Face writes it, ``rows`` rows a group."""
    columns = {"image": [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(pictures)]}
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
def test_any_order_gives_the_same_pictures(
    tmp_path: Path, encode: object, cache_bytes: int
) -> None:
    first = write(tmp_path / "a.parquet", colours(5, encode), [0, 1, 2, 0, 1])
    second = write(tmp_path / "b.parquet", [encode((9, 0, 0))], [2])
    pictures = ParquetPictures([first, second], cache_bytes=cache_bytes)
    assert len(pictures) == 6
    assert pictures.class_names == ("0", "1", "2")
    for index in (5, 0, 3, 2, 4, 1, 5, 0):
        picture = pictures[index]
        assert picture.image.getpixel((0, 0)) == ((0, 1, 2, 3, 4, 9)[index], 0, 0)
        assert picture.image.size == (8, 6)
        assert picture.label == (0, 1, 2, 0, 1, 2)[index]
        assert picture.captions == ()
    assert pictures[3].name == "a.parquet[3] (3.png)"
    with pytest.raises(IndexError):
        pictures[6]


def test_the_cache_stays_within_its_bytes(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(20, encode), None)
    pictures = ParquetPictures([path], cache_bytes=600)
    for index in range(20):
        assert pictures[index].image.getpixel((0, 0)) == (index, 0, 0)
        held = pictures._cache._columns
        assert len(held) == 1 or pictures._cache._bytes() <= 600
    assert len(ParquetPictures([path])._cache._columns) == 0


def test_class_names_of_the_schema(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), [1, 0], ["cat", "dog"])
    pictures = ParquetPictures([path])
    assert pictures.class_names == ("cat", "dog")
    assert [pictures[i].label for i in range(2)] == [1, 0]
    turned = ParquetPictures([path], class_names=["dog", "cat"])
    assert [turned[i].label for i in range(2)] == [0, 1]


def test_labels_by_name_and_no_labels(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), ["ship", "cat"])
    assert ParquetPictures([path]).labels == [1, 0]
    path = write(tmp_path / "b.parquet", colours(2, encode), None)
    assert ParquetPictures([path]).class_names == ("pictures",)


def test_broken_rows_are_unreadable_pictures(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", [encode(), b"junk", b"", None], None)
    pictures = ParquetPictures([path])
    assert pictures[0].image.size == (8, 6)
    for index in (1, 2, 3):
        with pytest.raises(UnreadablePictureError, match=rf"a\.parquet\[{index}\] "):
            pictures[index]


def test_the_fingerprint_follows_the_pictures(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(3, encode), None)
    before = ParquetPictures([path]).fingerprint
    assert ParquetPictures([path]).fingerprint == before
    write(path, [*colours(2, encode), encode("blue")], None)
    assert ParquetPictures([path]).fingerprint != before


def test_files_that_can_not_be_used(tmp_path: Path, encode: object) -> None:
    whole = write(tmp_path / "whole.parquet", colours(3, encode), None)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cut.parquet is no readable parquet file"):
        ParquetPictures([cut])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["a"]}), other)
    with pytest.raises(ValueError, match="other.parquet has no column 'image' or 'img'; .*: text"):
        ParquetPictures([other])
    with pytest.raises(ValueError, match="other.parquet has other columns than"):
        ParquetPictures([whole, other])
    labelled = write(tmp_path / "labelled.parquet", colours(2, encode), [0, -1])
    with pytest.raises(ValueError, match="labelled.parquet: the label -1 is below 0"):
        ParquetPictures([labelled])


def captions(path: Path, columns: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    pictures = ParquetPictures([path], caption_columns=columns)
    return [pictures[i].captions for i in range(len(pictures))]


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


def test_other_captions_make_other_pictures(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(2, encode), None, text=["x", "y"])
    every = [ParquetPictures([path], caption_columns=columns) for columns in (None, ["text"], [])]
    assert every[0].fingerprint == every[1].fingerprint != every[2].fingerprint


def test_scores(tmp_path: Path, encode: object) -> None:
    path = write(tmp_path / "a.parquet", colours(3, encode), None, score=[6.5, None, 7.0])
    pictures = ParquetPictures([path])
    assert [pictures[i].score for i in range(3)] == [6.5, None, 7.0]
    assert pictures.fingerprint == ParquetPictures([path]).fingerprint
    path = write(tmp_path / "b.parquet", colours(2, encode), None, score=["6", "good"])
    with pytest.raises(ValueError, match="b.parquet: a score must be a number, not 'good'"):
        ParquetPictures([path])
    bare = ParquetPictures([write(tmp_path / "c.parquet", colours(1, encode), None)])
    assert bare[0].score is None


def test_other_scores_make_other_pictures(tmp_path: Path, encode: object) -> None:
    pictures = ParquetPictures([write(tmp_path / "a.parquet", colours(2, encode), None)])
    bare = pictures.fingerprint
    pictures.scores = [None, 5.0]
    scored = pictures.fingerprint
    pictures.scores = [5.0, None]
    assert len({bare, scored, pictures.fingerprint}) == 3

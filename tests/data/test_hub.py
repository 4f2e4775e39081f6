from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demask.data import open_images
from demask.data.hub import HubImages
from demask.data.images import UnreadableImageError

datasets = pytest.importorskip("datasets")


def made(encode: object, names: list[str] | None) -> datasets.Dataset:
    features = {"image": datasets.Image()}
    rows = {"image": [{"bytes": encode(), "path": None}, {"bytes": b"junk", "path": None}]}
    if names:
        features["label"] = datasets.ClassLabel(names=names)
        rows["label"] = [1, 0]
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_rows_become_images(encode: object) -> None:
    images = HubImages(made(encode, ["cat", "dog"]), "hf:a/b")
    assert images.class_names == ("cat", "dog")
    assert len(images) == 2
    assert (images[0].label, images[0].name) == (1, "hf:a/b[0]")
    assert images[0].image.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(UnreadableImageError, match=r"hf:a/b\[1\]: "):
        images[1]


def test_the_wanted_classes_and_none(encode: object) -> None:
    turned = HubImages(made(encode, ["cat", "dog"]), "x", ["dog", "cat"])
    assert turned.labels == [0, 1]
    assert HubImages(made(encode, None), "x").class_names == ("pictures",)
    assert turned.fingerprint != HubImages(made(encode, ["cat", "dog"]), "x").fingerprint


def test_captions(encode: object) -> None:
    dataset = made(encode, None).add_column("text", ["a dog", None])
    dataset = dataset.add_column("aliases", [["dog", "hound"], []])
    images = HubImages(dataset, "hf:a/b")
    assert images[0].captions == ("a dog", "dog", "hound")
    assert images.captions[1] == ()
    chosen = HubImages(dataset, "hf:a/b", caption_columns=["aliases"])
    assert chosen[0].captions == ("dog", "hound")
    assert chosen.fingerprint != images.fingerprint
    with pytest.raises(ValueError, match="hf:a/b has no column 'name'; it has: image, text, alia"):
        HubImages(dataset, "hf:a/b", caption_columns=["name"])


def test_a_split_is_asked_for(encode: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return made(encode, None)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_images("hf:owner/name")) == 1
    assert len(open_images("hf:owner/name:test")) == 1
    assert asked == [("owner/name", "train"), ("owner/name", "test")]


def test_no_connection_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str) -> None:
        raise ConnectionError("offline\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(ValueError, match="can't load hf:a/b from the Hub: offline and more"):
        open_images("hf:a/b")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'demask\[data\]'"):
        open_images("hf:a/b")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pip install 'demask\[train\]'"):
        open_images(tmp_path)


def test_scores(encode: object) -> None:
    dataset = made(encode, None).add_column("score", [6.5, None])
    images = HubImages(dataset, "hf:a/b")
    assert (images[0].score, images.scores) == (6.5, [6.5, None])
    bad = made(encode, None).add_column("score", ["6", "good"])
    with pytest.raises(ValueError, match="hf:a/b: a score must be a number, not 'good'"):
        HubImages(bad, "hf:a/b")

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demask.data import open_images
from demask.data.image_folder import ImageFolder
from demask.data.open import expand_braces
from demask.data.parquet import ParquetImages
from demask.data.web_shards import WebShards


def parquet(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [{"bytes": data, "path": path.stem}]}), path)


def shard(path: Path, data: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(f"{path.stem}.png")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def names(source: str | Path) -> list[str]:
    images = open_images(source)
    return [images[i].name for i in range(len(images))]


def test_each_kind_finds_its_reader(tmp_path: Path, encode: object) -> None:
    parquet(tmp_path / "p/data/one.parquet", encode())
    (tmp_path / "p/logo.png").write_bytes(encode())
    (tmp_path / "s").mkdir()
    shard(tmp_path / "s/one.tar", encode())
    (tmp_path / "f/cat").mkdir(parents=True)
    (tmp_path / "f/cat/1.png").write_bytes(encode())
    assert isinstance(open_images(tmp_path / "p"), ParquetImages)
    assert isinstance(open_images(str(tmp_path / "p/data/one.parquet")), ParquetImages)
    assert isinstance(open_images(tmp_path / "s"), WebShards)
    assert isinstance(open_images(tmp_path / "s/one.tar"), WebShards)
    assert isinstance(open_images(tmp_path / "f"), ImageFolder)


def test_files_of_a_folder_come_sorted(tmp_path: Path, encode: object) -> None:
    for name in ("b", "c", "a"):
        parquet(tmp_path / f"{name}.parquet", encode())
    assert [name[0] for name in names(tmp_path)] == ["a", "b", "c"]


def test_patterns(tmp_path: Path, encode: object) -> None:
    for number in range(4):
        shard(tmp_path / f"x-{number:03}.tar", encode())
        parquet(tmp_path / f"train-{number}.parquet", encode())
    parquet(tmp_path / "test-0.parquet", encode())
    assert names(tmp_path / "x-{001..002}.tar") == ["x-001.tar/x-001.png", "x-002.tar/x-002.png"]
    assert len(open_images(tmp_path / "train-*.parquet")) == 4
    assert len(open_images(tmp_path / "x-*.tar")) == 4
    with pytest.raises(ValueError, match="no such file: .*x-004.tar"):
        open_images(tmp_path / "x-{000..009}.tar")
    with pytest.raises(ValueError, match=r"holds several splits \(test, train\)"):
        open_images(tmp_path)


def test_braces() -> None:
    assert expand_braces("a{08..10}b") == ["a08b", "a09b", "a10b"]
    assert expand_braces("{x,y}{1..2}") == ["x1", "x2", "y1", "y2"]
    assert expand_braces("plain") == ["plain"]


def test_splits_are_no_classes(tmp_path: Path, encode: object) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat/1.png").write_bytes(encode())
    with pytest.raises(ValueError, match=r"several splits \(train, val\); name one of them"):
        open_images(tmp_path)
    assert open_images(tmp_path / "train").class_names == ("cat",)


def test_unreadable_images(
    tmp_path: Path, encode: object, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(encode())
    (tmp_path / "c.jpg").write_bytes(encode(kind="JPEG")[:200])
    assert names(tmp_path) == ["b.png"]
    assert "2 of 3 images can't be read" in caplog.text
    with pytest.raises(ValueError, match="unreadable image a.png: empty"):
        open_images(tmp_path, strict=True)


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="no such path: .*absent; valid: a folder of images, "):
        open_images(tmp_path / "absent")
    with pytest.raises(ValueError, match="can't read images from .*notes.txt; valid: "):
        open_images(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="holds no images"):
        open_images(tmp_path)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demask.data.image_folder import ImageFolder
from demask.data.images import UnreadableImageError


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_sub_folders_are_classes_however_deep(tmp_path: Path, encode: object) -> None:
    put(tmp_path / "dog/2.png", encode())
    put(tmp_path / "dog/10.JPG", encode(kind="JPEG"))
    put(tmp_path / "cat/black/1.webp", encode(kind="WEBP"))
    put(tmp_path / "cat/notes.txt", b"no image")
    put(tmp_path / ".cache/x.png", encode())
    put(tmp_path / "cat/._1.png", b"junk")
    folder = ImageFolder(tmp_path)
    assert folder.class_names == ("cat", "dog")
    assert [(folder[i].name, folder[i].label) for i in range(len(folder))] == [
        ("cat/black/1.webp", 0),
        ("dog/10.JPG", 1),
        ("dog/2.png", 1),
    ]
    assert folder[0].image.size == (8, 6)


def test_a_flat_folder_is_one_class(tmp_path: Path, encode: object) -> None:
    put(tmp_path / "b.png", encode())
    put(tmp_path / "a.png", encode("blue"))
    folder = ImageFolder(tmp_path)
    assert folder.class_names == ("pictures",)
    assert [folder[i].name for i in range(2)] == ["a.png", "b.png"]
    assert folder[0].image.getpixel((0, 0)) == (0, 0, 255)


def test_the_wanted_order_of_classes(tmp_path: Path, encode: object) -> None:
    put(tmp_path / "cat/1.png", encode())
    folder = ImageFolder(tmp_path, ["ship", "cat"])
    assert folder.class_names == ("ship", "cat")
    assert folder[0].label == 1
    with pytest.raises(ValueError, match="unknown class 'cat'"):
        ImageFolder(tmp_path, ["ship", "dog"])


def test_a_class_folder_may_be_a_link(tmp_path: Path, encode: object) -> None:
    put(tmp_path / "elsewhere/1.png", encode())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat").symlink_to(tmp_path / "elsewhere")
    folder = ImageFolder(tmp_path / "data")
    assert (len(folder), folder.class_names) == (1, ("cat",))


def test_images_in_and_beside_classes_are_refused(tmp_path: Path, encode: object) -> None:
    put(tmp_path / "cat/1.png", encode())
    put(tmp_path / "sheet.png", encode())
    with pytest.raises(ValueError, match="1 images beside its class folders"):
        ImageFolder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no images"):
        ImageFolder(tmp_path)


def test_a_file_that_vanished_is_an_unreadable_image(tmp_path: Path, encode: object) -> None:
    path = put(tmp_path / "a.png", encode())
    folder = ImageFolder(tmp_path)
    path.unlink()
    with pytest.raises(UnreadableImageError, match="a.png: No such file"):
        folder[0]


def test_the_fingerprint_follows_names_and_contents(tmp_path: Path, encode: object) -> None:
    path = put(tmp_path / "a.png", encode())
    before = ImageFolder(tmp_path).fingerprint
    assert ImageFolder(tmp_path).fingerprint == before
    os.utime(path, (1, 1))  # a copy has other times, and the same images
    assert ImageFolder(tmp_path).fingerprint == before
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    changed = ImageFolder(tmp_path).fingerprint
    path.rename(tmp_path / "b.png")
    assert len({before, changed, ImageFolder(tmp_path).fingerprint}) == 3

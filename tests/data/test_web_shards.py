from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from demask.data.images import UnreadableImageError
from demask.data.web_shards import WebShards


def pack(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_members_of_a_key_make_an_image(tmp_path: Path, encode: object) -> None:
    first = pack(
        tmp_path / "0.tar",
        {
            "b/1.0.cls": b"0\n",  # the ending starts at the first dot
            "b/1.jpg": encode("red", kind="JPEG"),
            "b/1.cls": b"1\n",
            "b/1.txt": "ein Schiff für dich".encode(),
            "a/1.cls": b"0",
            "a/1.PNG": encode("blue"),
        },
    )
    second = pack(
        tmp_path / "1.tar",
        {"b/1.png": encode("lime"), "b/1.json": b'{"label": 2, "caption": "green", "more": []}'},
    )
    shards = WebShards([first, second])
    assert shards.class_names == ("0", "1", "2")
    assert [(p.name, p.label, p.captions) for p in (shards[i] for i in range(len(shards)))] == [
        ("0.tar/b/1.jpg", 1, ("ein Schiff für dich",)),
        ("0.tar/a/1.png", 0, ()),
        ("1.tar/b/1.png", 2, ("green",)),
    ]
    assert shards[2].image.getpixel((0, 0)) == (0, 255, 0)
    assert shards[1].image.getpixel((0, 0)) == (0, 0, 255)


def test_captions_as_lines_or_json(tmp_path: Path, encode: object) -> None:
    path = pack(
        tmp_path / "0.tar",
        {
            "1.png": encode(),
            "1.txt": b"a dog\n\na hound\n",
            "1.json": b'{"text": "x", "title": "y"}',
            "2.png": encode(),
            "2.json": b'{"text": "a ship", "aliases": ["ship", "boat"]}',
            "3.png": encode(),
            "3.txt": b"\xff",
        },
    )
    shards = WebShards([path])
    assert [shards[i].captions for i in range(2)] == [
        ("a dog", "a hound"),
        ("a ship", "ship", "boat"),
    ]
    with pytest.raises(UnreadableImageError, match="3.txt is no UTF-8 text"):
        shards[2]
    chosen = WebShards([path], caption_columns=["title", "text"])
    assert [chosen[i].captions for i in range(3)] == [("y", "x"), ("a ship",), ()]
    assert chosen.fingerprint != shards.fingerprint
    with pytest.raises(ValueError, match="0.tar has no column 'a'; it has: text, title, aliases"):
        WebShards([path], caption_columns=["a"])


def test_classes_by_name(tmp_path: Path, encode: object) -> None:
    path = pack(
        tmp_path / "0.tar",
        {"1.png": encode(), "1.cls": b"ship", "2.png": encode(), "2.cls": b"cat"},
    )
    shards = WebShards([path])
    assert shards.class_names == ("cat", "ship")
    assert shards.labels == [1, 0]
    assert WebShards([path], ["ship", "cat", "dog"]).labels == [0, 1]


def test_without_classes(tmp_path: Path, encode: object) -> None:
    path = pack(tmp_path / "0.tar", {"1.png": encode(), "2.png": b"junk", "3.png": b""})
    shards = WebShards([path])
    assert shards.class_names == ("pictures",)
    for index in (1, 2):
        with pytest.raises(UnreadableImageError, match=rf"0\.tar/{index + 1}\.png: "):
            shards[index]


def test_some_without_a_class(tmp_path: Path, encode: object) -> None:
    path = pack(tmp_path / "0.tar", {"1.png": encode(), "1.cls": b"0", "2.png": encode()})
    with pytest.raises(ValueError, match="0.tar: image 1 has no class"):
        WebShards([path])


def test_tars_that_can_not_be_used(tmp_path: Path, encode: object) -> None:
    whole = pack(tmp_path / "whole.tar", {"1.png": encode(size=(64, 64)), "2.png": encode()})
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(ValueError, match="cut.tar is no whole, uncompressed tar"):
        WebShards([cut])
    packed = pack(tmp_path / "packed.tar", {"1.png": encode()}, "w:gz")
    with pytest.raises(ValueError, match="packed.tar is no whole, uncompressed tar"):
        WebShards([packed])
    with pytest.raises(ValueError, match="empty.tar holds no images"):
        WebShards([pack(tmp_path / "empty.tar", {"a.txt": b"x"})])
    with pytest.raises(ValueError, match="1.json is no JSON"):
        WebShards([pack(tmp_path / "bad.tar", {"1.png": encode(), "1.json": b"{"})])


def test_the_fingerprint_follows_the_labels(tmp_path: Path, encode: object) -> None:
    path = pack(tmp_path / "0.tar", {"1.png": encode(), "1.cls": b"0"})
    assert WebShards([path]).fingerprint == WebShards([path]).fingerprint
    before = WebShards([path], ["a", "b"]).fingerprint
    pack(path, {"1.png": encode(), "1.cls": b"1"})
    assert WebShards([path], ["a", "b"]).fingerprint != before


def test_scores_are_in_the_json(tmp_path: Path, encode: object) -> None:
    path = pack(
        tmp_path / "0.tar",
        {
            "1.png": encode(),
            "1.txt": b"a dog",
            "1.json": b'{"score": 6.5}',
            "2.png": encode(),
            "2.json": b'{"text": "a ship", "score": null}',
            "3.png": encode(),
            "4.png": encode(),
            "4.json": b'{"score": "good"}',
        },
    )
    shards = WebShards([path])
    assert [shards[i].score for i in range(3)] == [6.5, None, None]
    assert shards[0].captions == ("a dog",)
    with pytest.raises(UnreadableImageError, match="4.json: a score must be a number"):
        shards[3]

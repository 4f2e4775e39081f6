"""The cache of tokenised images."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demask.data.images import ImageSample
from demask.data.tokens import Views, build_tokens, load_tokens
from demask.data.transforms import to_tensor
from tiny import tiny_tokenizer


class Noise:
    """Seven images of noise."""

    class_names = ("a", "b")
    fingerprint = "noise"

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> ImageSample:
        self.reads += 1
        pixels = np.random.default_rng(index).integers(0, 256, (20, 16, 3), dtype=np.uint8)
        captions = (f"noise {index}", "noise") if index % 2 else ()
        return ImageSample(Image.fromarray(pixels), index % 2, str(index), captions)


VIEWS = Views(size=16, count=4, flip=True, shift=2)


@torch.no_grad()
def test_the_cache_holds_the_views_of_each_image(tmp_path: Path) -> None:
    tokenizer, images = tiny_tokenizer(), Noise()
    cache = build_tokens(tokenizer, images, VIEWS, tmp_path, batch_size=3)
    assert (len(cache), cache.views, cache.layout.grid) == (7, 4, (4, 4))
    assert cache.class_names == ("a", "b")
    ids_BL, label_B = cache.read(torch.tensor([5, 2]), torch.tensor([0, 1]))
    assert label_B.tolist() == [1, 0]
    assert ids_BL.dtype == torch.int64
    plain = to_tensor(images[5].image, 16)
    mirrored = to_tensor(images[2].image, 16).flip(-1)
    expected = tokenizer.encode(torch.stack([plain, mirrored])).flatten(1)
    assert torch.equal(ids_BL, expected)


def test_it_is_made_once(tmp_path: Path) -> None:
    images = Noise()
    first = build_tokens(tiny_tokenizer(), images, VIEWS, tmp_path)
    reads = images.reads
    again = build_tokens(tiny_tokenizer(), images, VIEWS, tmp_path)
    assert images.reads == reads
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.ids, first.ids)


def test_other_weights_or_views_make_another(tmp_path: Path) -> None:
    first = build_tokens(tiny_tokenizer(), Noise(), VIEWS, tmp_path)
    changed = tiny_tokenizer()
    torch.nn.init.normal_(changed.decoder[0].weight)
    other_views = dataclasses.replace(VIEWS, shift=1)
    names = {
        first.fingerprint,
        build_tokens(changed, Noise(), VIEWS, tmp_path).fingerprint,
        build_tokens(tiny_tokenizer(), Noise(), other_views, tmp_path).fingerprint,
    }
    assert len(names) == 3


class Broken(Noise):
    """Fails half-way."""

    def __getitem__(self, index: int) -> ImageSample:
        if index == 5:
            raise ValueError("unreadable")
        return super().__getitem__(index)


def test_nothing_is_left_of_a_broken_build(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unreadable"):
        build_tokens(tiny_tokenizer(), Broken(), VIEWS, tmp_path, batch_size=2)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Noise(), VIEWS, tmp_path)
    (tmp_path / cache.fingerprint / "ids.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="no readable token cache"):
        load_tokens(tmp_path / cache.fingerprint)


def test_captions_are_kept(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Noise(), VIEWS, tmp_path, batch_size=3)
    assert cache.captions[:4] == ((), ("noise 1", "noise"), (), ("noise 3", "noise"))
    file = tmp_path / cache.fingerprint / "captions.json"
    file.write_text("[[]]")
    with pytest.raises(ValueError, match="captions of 1 images, not 7"):
        load_tokens(file.parent)
    file.unlink()
    assert load_tokens(file.parent).captions == ((),) * 7


class Shapes(Noise):
    """Seven images of noise: four wide ones, then three high ones."""

    def __getitem__(self, index: int) -> ImageSample:
        image = super().__getitem__(index)
        size = (30, 20) if index < 4 else (16, 20)
        return ImageSample(image.image.resize(size), index, str(index), (str(index),))


BUCKETS = dataclasses.replace(VIEWS, buckets=((16, 24), (8, 8), (20, 16)))


@torch.no_grad()
def test_a_group_for_each_bucket(tmp_path: Path) -> None:
    tokenizer, images, done = tiny_tokenizer(), Shapes(), []
    cache = build_tokens(tokenizer, images, BUCKETS, tmp_path, done.append, batch_size=3)
    assert done == [3, 4, 7]
    assert [group.layout.grid for group in cache.groups] == [(4, 6), (2, 2), (5, 4)]
    assert [group.indices.tolist() for group in cache.groups] == [[0, 1, 2, 3], [], [4, 5, 6]]
    assert (len(cache), cache.views, cache.layout.grid) == (7, 4, (4, 6))
    assert cache.group_of(5) is cache.groups[2]
    assert cache.captions == tuple((str(index),) for index in range(7))
    ids_BL, label_B = cache.read(torch.tensor([6, 4]), torch.tensor([0, 1]))
    assert label_B.tolist() == [6, 4]
    plain = to_tensor(images[6].image, (20, 16))
    mirrored = to_tensor(images[4].image, (20, 16)).flip(-1)
    assert torch.equal(ids_BL, tokenizer.encode(torch.stack([plain, mirrored])).flatten(1))
    assert torch.equal(
        ids_BL,
        load_tokens(tmp_path / cache.fingerprint).read(torch.tensor([6, 4]), torch.tensor([0, 1]))[
            0
        ],
    )
    with pytest.raises(AssertionError, match="several sizes"):
        cache.read(torch.tensor([0, 4]), torch.tensor([0, 0]))


def test_a_lost_file_of_groups_is_named(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Shapes(), BUCKETS, tmp_path)
    (tmp_path / cache.fingerprint / "groups.npy").unlink()
    with pytest.raises(ValueError, match="groups.npy is missing"):
        load_tokens(tmp_path / cache.fingerprint)


def test_buckets_fit_the_tokenizer(tmp_path: Path) -> None:
    views = dataclasses.replace(VIEWS, buckets=((16, 22),))
    with pytest.raises(ValueError, match="16 x 22 pixels are no multiples of 4"):
        build_tokens(tiny_tokenizer(), Noise(), views, tmp_path)


def test_a_cache_from_before_groups_and_captions_loads(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Noise(), VIEWS, tmp_path)
    folder = tmp_path / cache.fingerprint
    meta = json.loads((folder / "meta.json").read_text())
    (meta["grid"],) = meta.pop("grids")
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "groups.npy").unlink()
    (folder / "captions.json").unlink()
    old = load_tokens(folder)
    assert (old.layout, old.captions) == (cache.layout, ((),) * 7)
    assert np.array_equal(old.ids, cache.ids)


class Liked(Noise):
    """Seven images of noise, 16 pixels wide and 20 high; the odd ones have a score."""

    def __getitem__(self, index: int) -> ImageSample:
        score = index / 2 if index % 2 else None
        return dataclasses.replace(super().__getitem__(index), score=score)


def test_micro_conditions_are_kept(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Liked(), VIEWS, tmp_path, batch_size=3)
    assert cache.micro is not None
    assert cache.micro.dtype == np.float32
    assert cache.micro.tolist() == [
        [16, 16, 2, 0, index / 2 if index % 2 else 6] for index in range(7)
    ]
    file = tmp_path / cache.fingerprint / "micro.npy"
    np.save(file, cache.micro[:, :4])
    with pytest.raises(ValueError, match="micro.npy has the shape"):
        load_tokens(file.parent)
    file.unlink()
    assert load_tokens(file.parent).micro is None


def test_micro_conditions_follow_the_image_into_its_group(tmp_path: Path) -> None:
    cache = build_tokens(tiny_tokenizer(), Shapes(), BUCKETS, tmp_path, batch_size=3)
    assert cache.micro is not None
    assert cache.micro[:, :2].tolist() == [[24, 16]] * 4 + [[16, 20]] * 3


def test_a_full_disk_is_known_before_the_images_are_tokenised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room of all ids is reserved first; a memory-mapped file would end in a bus error."""
    wanted: list[int] = []

    def full(descriptor: int, start: int, size: int) -> None:
        wanted.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    images = Noise()
    with pytest.raises(OSError, match="No space left on device") as caught:
        build_tokens(tiny_tokenizer(), images, VIEWS, tmp_path)
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert (wanted, images.reads) == ([128 + 7 * 4 * 16 * 2], 0)
    assert list(tmp_path.iterdir()) == []

    def unsupported(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    assert len(build_tokens(tiny_tokenizer(), images, VIEWS, tmp_path)) == 7

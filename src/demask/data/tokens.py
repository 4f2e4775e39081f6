"""The token cache: images as tokens on disk, for the training of masked models.

Shape legend: B batch, G images of a group, W views, L tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from demask.data.array_file import array_parts, write_array
from demask.data.decoded import DecodedImages, fits, views_of
from demask.data.images import ImageDataset, ImageSample
from demask.data.views import Views as Views
from demask.files import folder_written_atomically, write_text
from demask.fingerprint import fingerprint, weights_fingerprint
from demask.types import MICRO_CONDITIONS, USUAL_SCORE, Tokenizer, TokenLayout


@dataclass(frozen=True)
class TokenGroup:
    """The tokens of all images of one size.

    Attributes:
        layout: of the L tokens.
        indices: indices of the images (G), ascending.
        ids: (G, W, L) unsigned integers, memory-mapped.
    """

    layout: TokenLayout
    indices: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class TokenCache:
    """Tokens of many images, read from disk on access.

    Attributes:
        groups: one group for each bucket of the views, usually a single one.
        group_numbers: the index of each image's group (images).
        labels: class numbers (images).
        class_names: names of the classes.
        fingerprint: identifies the images, the views and the tokenizer.
        captions: the captions of each image, the main one first; () if it has none.
        micro: the micro-conditions of each image's plain view (images, 5), in the order of
            `MICRO_CONDITIONS`; None in caches of older versions.
    """

    groups: tuple[TokenGroup, ...]
    group_numbers: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    captions: tuple[tuple[str, ...], ...]
    micro: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def views(self) -> int:
        """W, the number of views of each image."""
        return int(self.groups[0].ids.shape[1])

    @property
    def layout(self) -> TokenLayout:
        """Rows and columns of the L tokens of the first group."""
        return self.groups[0].layout

    @property
    def ids(self) -> np.ndarray:
        """All ids (images, W, L); only for a single group."""
        (group,) = self.groups
        return group.ids

    def group_of(self, index: int) -> TokenGroup:
        """The group of an image."""
        return self.groups[self.group_numbers[index]]

    def read(self, index_B: Tensor, view_B: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L) of one view of each image, and their class numbers (B).

        All images must be of one group.
        """
        index, view = index_B.numpy(), view_B.numpy()
        numbers = self.group_numbers[index]
        assert (numbers == numbers[:1]).all(), "images of several sizes make no batch"
        group = self.groups[numbers[0]] if len(numbers) else self.groups[0]
        row = np.searchsorted(group.indices, index)
        ids_BL = torch.from_numpy(group.ids[row, view].astype(np.int64))
        return ids_BL, torch.from_numpy(self.labels[index].astype(np.int64))


def load_tokens(folder: Path) -> TokenCache:
    """Open a cache written by `build_tokens`.

    Raises:
        ValueError: the folder holds no complete cache.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        labels = np.load(folder / "labels.npy")
        shapes = meta.get("grids") or [meta["grid"]]
        layouts = [TokenLayout(tuple(shape)) for shape in shapes]
        numbers = read_group_numbers(folder / "groups.npy", len(labels))
        groups = tuple(
            TokenGroup(layout, np.flatnonzero(numbers == number), np.load(path, mmap_mode="r"))
            for number, (layout, path) in enumerate(
                zip(layouts, ids_paths(folder, layouts), strict=True)
            )
        )
        if any(len(group.indices) != len(group.ids) for group in groups):
            raise ValueError("groups.npy is missing or does not fit the ids")
        captions = read_captions(folder / "captions.json", len(labels))
        micro = read_micro(folder / "micro.npy", len(labels))
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{folder} holds no readable token cache ({error})") from error
    names = tuple(meta["class_names"])
    return TokenCache(groups, numbers, labels, names, meta["fingerprint"], captions, micro)


def read_group_numbers(path: Path, count: int) -> np.ndarray:
    """The group of each image; 0 for all if the file is missing."""
    return np.load(path) if path.exists() else np.zeros(count, np.uint8)


def ids_paths(folder: Path, layouts: Sequence[TokenLayout]) -> list[Path]:
    """The path of each group's ids."""
    if len(layouts) == 1:
        return [folder / "ids.npy"]
    return [folder / f"ids-{number}.npy" for number in range(len(layouts))]


def read_captions(path: Path, count: int) -> tuple[tuple[str, ...], ...]:
    """The captions of each image; empty if the file is missing.

    Raises:
        ValueError: their number is not ``count``.
    """
    if not path.exists():
        return ((),) * count
    captions = tuple(map(tuple, json.loads(path.read_text())))
    if len(captions) != count:
        raise ValueError(f"{path.name} has captions of {len(captions)} images, not {count}")
    return captions


def read_micro(path: Path, count: int) -> np.ndarray | None:
    """The micro-conditions of each image; None if the file is missing.

    Raises:
        ValueError: their number is not ``count``.
    """
    if not path.exists():
        return None
    micro_N5 = np.load(path)
    if micro_N5.shape != (count, len(MICRO_CONDITIONS)):
        wanted = (count, len(MICRO_CONDITIONS))
        raise ValueError(f"{path.name} has the shape {micro_N5.shape}, not {wanted}")
    return micro_N5


@torch.no_grad()
def build_tokens(
    tokenizer: Tokenizer,
    samples: ImageDataset,
    views: Views,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
    batch_size: int = 128,
) -> TokenCache:
    """Tokenise all images into a sub-folder of ``folder``, or open it if it exists.

    The sub-folder is named after the cache's fingerprint, so a cache is never used with another
    tokenizer, other images or other views.

    Args:
        tokenizer: the tokenizer.
        samples: the images.
        views: the views of each image.
        folder: folder of all caches.
        progress: called with the number of images done so far.
        batch_size: images per batch.

    Raises:
        ValueError: a size of the views is not a multiple of the tokenizer's downsampling.
        OSError: the disk is full or the folder is not writable; no partial cache is left.
    """
    assert isinstance(tokenizer, nn.Module)
    name = fingerprint(weights_fingerprint(tokenizer), views.facts(), samples.fingerprint)
    place = folder / name
    if place.exists():
        return load_tokens(place)
    layouts = [layout_of(size, tokenizer.downsampling) for size in views.sizes]
    meta = {
        "grids": [layout.shape for layout in layouts],
        "class_names": samples.class_names,
        "fingerprint": name,
    }
    with folder_written_atomically(place) as work:
        write_text(work / "meta.json", json.dumps(meta))
        write_tokens(work, layouts, tokenizer, samples, views, progress, batch_size)
    return load_tokens(place)


def write_tokens(
    folder: Path,
    layouts: Sequence[TokenLayout],
    tokenizer: Tokenizer,
    samples: ImageDataset,
    views: Views,
    progress: Callable[[int], None],
    batch_size: int,
) -> None:
    """Write the ids of each group, and the labels, captions and micro-conditions."""
    numbers = bucket_numbers(samples, views)
    labels, done = np.zeros(len(samples), np.int32), 0
    captions: list[tuple[str, ...]] = [()] * len(samples)
    micro = np.zeros((len(samples), len(MICRO_CONDITIONS)), np.float32)
    for number, (layout, path) in enumerate(zip(layouts, ids_paths(folder, layouts), strict=True)):
        indices = np.flatnonzero(numbers == number)
        shape = (len(indices), views.count, layout.tokens)
        width = np.uint16 if tokenizer.codebook_size <= 2**16 else np.uint32
        with array_parts(path, width, shape) as append:
            for part in batches(len(indices), batch_size):
                chosen = indices[part].tolist()
                picked, ids_BWL = tokenise(tokenizer, samples, views, chosen)
                append(ids_BWL)
                for index, sample in zip(chosen, picked, strict=True):
                    labels[index], captions[index] = sample.label, sample.captions
                    score = USUAL_SCORE if sample.score is None else sample.score
                    micro[index] = (*views.micro(sample.image), score)
                done += len(chosen)
                progress(done)
    write_array(folder / "groups.npy", numbers)
    write_array(folder / "labels.npy", labels)
    write_array(folder / "micro.npy", micro)
    write_text(folder / "captions.json", json.dumps(captions))


def layout_of(size: tuple[int, int], downsampling: int) -> TokenLayout:
    """The layout of the tokens of an image of this height and width in pixels.

    Raises:
        ValueError: the sides are not multiples of ``downsampling``.
    """
    height, width = size
    if height % downsampling or width % downsampling:
        raise ValueError(f"{height} x {width} pixels are no multiples of {downsampling}")
    return TokenLayout((height // downsampling, width // downsampling))


def bucket_numbers(samples: ImageDataset, views: Views) -> np.ndarray:
    """The index of each image's size in ``views.sizes`` (images)."""
    if len(views.sizes) == 1:
        return np.zeros(len(samples), np.uint8)

    def number_of(index: int) -> int:
        return views.bucket_of(samples[index].image)

    with ThreadPoolExecutor(2) as readers:
        return np.array(list(readers.map(number_of, range(len(samples)))), np.uint8)


def tokenise(
    tokenizer: Tokenizer, samples: ImageDataset, views: Views, indices: Sequence[int]
) -> tuple[list[ImageSample], np.ndarray]:
    """Read and tokenise images of one size: the images (B) and their ids (B, W, L)."""
    assert isinstance(tokenizer, nn.Module)
    device = next(tokenizer.parameters()).device
    with ThreadPoolExecutor(2) as readers:
        picked = list(readers.map(samples.__getitem__, indices))

        def seen(number: int) -> Tensor:
            if isinstance(samples, DecodedImages) and fits(samples, views.size, views.buckets):
                return views_of(samples, views, indices, number)
            images = [sample.image for sample in picked]
            each = readers.map(views.view, images, indices, [number] * len(indices))
            return torch.stack(list(each))

        ids = [
            tokenizer.encode(seen(number).to(device)).flatten(1).cpu()
            for number in range(views.count)
        ]
    return picked, torch.stack(ids, dim=1).numpy()


def batches(count: int, size: int) -> Iterator[slice]:
    """Consecutive ranges that cover 0 to ``count``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))

"""Images that were decoded once to one size, in a memory-mapped array.

A GPU trains small networks on more images a second than one process can decode. `decode_images`
decodes a source into a folder with several processes, ``decoded:FOLDER`` opens it as a source, and
`random_views` and `views_of` make whole batches at once, bit for bit as `demask.data.transforms`
and `demask.data.views` make them from single images.

Shape legend: N images, B batch, C channels, H W rows and columns of pixels.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demask import rng
from demask.data.array_file import array_parts, write_array
from demask.data.classes import number_names
from demask.data.images import ImageDataset, ImageSample
from demask.data.transforms import cover, moved, to_pixels
from demask.data.views import Views
from demask.files import folder_written_atomically, write_text
from demask.fingerprint import fingerprint

PREFIX = "decoded:"
CHUNK = 256
"""Images that a process decodes before it asks for more."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image with its class number, captions and score."""

    pixels_HWC: np.ndarray
    label: int
    captions: tuple[str, ...]
    score: float | None


class DecodedImages:
    """The images of a folder that `decode_images` wrote.

    Args:
        folder: the folder.
        class_names: the order of the classes; by default that of the source.

    Attributes:
        pixels_NHWC: (N, H, W, 3) uint8, memory-mapped.
        size: side of the images, in pixels.
        class_names: the names of the class numbers.

    Raises:
        ValueError: the folder holds no such images, or a class that is not in ``class_names``.
    """

    def __init__(self, folder: Path, class_names: Sequence[str] | None = None) -> None:
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            self.pixels_NHWC: np.ndarray = np.load(folder / "pixels.npy", mmap_mode="r")
            self.labels = np.load(folder / "labels.npy")
            self.captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{folder} holds no decoded images ({error})") from error
        self.class_names, numbers = number_names(tuple(meta["class_names"]), class_names)
        if numbers:
            self.labels = np.asarray(numbers)[self.labels]
        self.scores, self.size = meta["scores"], int(meta["size"])
        self.fingerprint: str = fingerprint(meta["fingerprint"], self.size, *self.class_names)

    def __len__(self) -> int:
        return len(self.pixels_NHWC)

    def __getitem__(self, index: int) -> ImageSample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        image = Image.fromarray(np.array(self.pixels_NHWC[index]))
        captions, score = tuple(self.captions[index]), self.scores[index]
        return ImageSample(image, int(self.labels[index]), f"image {index}", captions, score)

    def plain(self, indices: Sequence[int]) -> Tensor:
        """The unchanged images of these indices (B), (B, 3, H, W) in [0, 1]."""
        pixels_BHWC = torch.from_numpy(self.pixels_NHWC[np.asarray(indices)])
        return pixels_BHWC.permute(0, 3, 1, 2).contiguous().float() / 255


def open_decoded(source: str, class_names: Sequence[str] | None = None) -> DecodedImages | None:
    """Open ``decoded:FOLDER``; None for any other source.

    Raises:
        ValueError: see `DecodedImages`.
    """
    if not source.startswith(PREFIX):
        return None
    return DecodedImages(Path(source.removeprefix(PREFIX)), class_names)


def decode_images(images: ImageDataset, size: int, folder: Path, workers: int = 1) -> None:
    """Decode all images into a folder, which appears once it is complete.

    Args:
        images: the images to decode.
        size: side in pixels to which the largest centred square of each image is resized.
        folder: the folder to create; if it exists, nothing is done.
        workers: number of processes. They are forked, so no other threads may run.
    """
    if folder.exists():
        return
    parts = [range(s, min(s + CHUNK, len(images))) for s in range(0, len(images), CHUNK)]
    labels = np.zeros(len(images), np.int32)
    captions: list[tuple[str, ...]] = []
    scores: list[float | None] = []
    meta = {"size": size, "class_names": images.class_names, "fingerprint": images.fingerprint}
    with folder_written_atomically(folder) as work:
        shape = len(images), size, size, 3
        reader = Reader(images, size)
        context = multiprocessing.get_context("fork")
        with (
            array_parts(work / "pixels.npy", np.uint8, shape) as append,
            ProcessPoolExecutor(workers, context, begin, (reader,)) as pool,
        ):
            made = map(reader, parts) if workers == 1 else pool.map(read_part, parts)
            for part, found in zip(parts, made, strict=True):
                for index, image in zip(part, found, strict=True):
                    append(image.pixels_HWC[None])
                    labels[index] = image.label
                    captions.append(image.captions)
                    scores.append(image.score)
        write_array(work / "labels.npy", labels)
        write_text(work / "captions.json", json.dumps(captions))
        write_text(work / "meta.json", json.dumps(meta | {"scores": scores}))


class Reader:
    """Decodes parts of a source to one size."""

    def __init__(self, images: ImageDataset, size: int) -> None:
        self.images, self.size = images, size

    def __call__(self, part: range) -> list[Decoded]:
        """The images of some indices."""
        return [self.read(self.images[index]) for index in part]

    def read(self, sample: ImageSample) -> Decoded:
        """Decode one image, cropped and resized as in `demask.data.transforms.to_tensor`."""
        image = cover(sample.image.convert("RGB"), self.size, self.size)
        return Decoded(to_pixels(image), sample.label, sample.captions, sample.score)


_readers: list[Reader] = []
"""The reader of a worker process, which needs no pickling because the process is forked."""


def begin(reader: Reader) -> None:
    """Initialize a worker process, which exits when its parent process ends, even if killed."""
    _readers[:] = [reader]
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_part(part: range) -> list[Decoded]:
    """Decode a part, in a worker process."""
    return _readers[0](part)


def random_views(
    images: DecodedImages, indices: Sequence[int], flip: bool, shift: int, draws_B3: Tensor
) -> Tensor:
    """`demask.data.transforms.random_view` of a batch, from its random numbers.

    Args:
        images: the decoded images.
        indices: indices of the batch's images (B).
        flip: whether to flip horizontally with probability 0.5.
        shift: maximum shift in pixels in each direction; the border is mirrored.
        draws_B3: the three uniform numbers in [0, 1) that `random_view` draws for each image.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    image_BCHW = images.plain(indices)
    mirrored_B, down_B, right_B = draws_B3.double().unbind(1)
    if flip:
        chosen_B111 = (mirrored_B < 0.5)[:, None, None, None]
        image_BCHW = torch.where(chosen_B111, image_BCHW.flip(-1), image_BCHW)
    if not shift:
        return image_BCHW
    return moved(image_BCHW, shift, down_B, right_B).contiguous()


def views_of(images: DecodedImages, views: Views, indices: Sequence[int], number: int) -> Tensor:
    """`Views.view` ``number`` of a batch of images of these indices, (B, 3, H, W) in [0, 1]."""
    if number == 0:
        return images.plain(indices)
    if number == 1 and views.flip:
        return images.plain(indices).flip(-1)
    draws = []
    for index in indices:
        generator = torch.Generator().manual_seed(rng.derive(index, "view", number))
        draws.append(torch.rand(3, generator=generator))
    return random_views(images, indices, views.flip, views.shift, torch.stack(draws))


def fits(images: DecodedImages, size: int, buckets: Sequence[object] = ()) -> bool:
    """Whether decoded images have this size and no buckets of other shapes are asked for."""
    return images.size == size and not buckets

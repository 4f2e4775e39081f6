"""Images to measure, from an NPZ file or a data set, in batches.

Shape legend: B batch, H W rows and columns of pixels, N images.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from PIL import Image

from demask.evaluation.features import Batch

BATCH = 250


@dataclass(frozen=True)
class NpzImages:
    """The images of an NPZ file, read batch by batch.

    Attributes:
        path: the file.
        shape: N, H, W.
        labels_N: the classes, int64; None if the file does not hold them.
    """

    path: Path
    shape: tuple[int, int, int]
    labels_N: torch.Tensor | None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.shape[1:]

    @property
    def fingerprint(self) -> str:
        """A hash of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def batches(self) -> Iterator[Batch]:
        """The images in order.

        Raises:
            ValueError: the file ends too early.
        """
        count, height, width = self.shape
        bytes_each = height * width * 3
        with zipfile.ZipFile(self.path) as archive, archive.open("arr_0.npy") as file:
            read_header(file)
            for start in range(0, count, BATCH):
                here = min(BATCH, count - start)
                data = file.read(here * bytes_each)
                if len(data) < here * bytes_each:
                    raise ValueError(f"{self.path}: ends within its images")
                pixels = np.frombuffer(bytearray(data), np.uint8).reshape(here, height, width, 3)
                labels_N = self.labels_N
                label_B = None if labels_N is None else labels_N[start : start + here]
                yield torch.from_numpy(pixels), label_B


def open_npz(path: Path) -> NpzImages:
    """Open ``arr_0``, uint8 (N, H, W, 3), and the classes in ``arr_1`` or ``labels``, if any.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            shape, in_columns, dtype = read_header(file)
        with np.load(path, allow_pickle=False) as arrays:
            found = [name for name in ("arr_1", "labels") if name in arrays]
            labels = arrays[found[0]] if found else None
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: no images in 'arr_0' that can be read ({reason})") from None
    if dtype != np.uint8 or in_columns or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(f"{path}: arr_0 is {dtype} {shape}; images are uint8 (N, H, W, 3)")
    labels_N = None
    if labels is not None and labels.dtype.kind in "iu" and labels.min(initial=0) >= 0:
        if labels.shape != shape[:1]:
            raise ValueError(f"{path}: {labels.shape} labels for {shape[0]} images")
        labels_N = torch.from_numpy(labels.astype(np.int64))
    return NpzImages(path, shape[:3], labels_N)


def read_header(file: object) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, Fortran order and type of a ``.npy`` array; the file then is at its data."""
    version = npy.read_magic(file)  # type: ignore[arg-type]
    read: Callable = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def in_batches(images: Iterable[tuple[Image.Image, int]]) -> Iterator[Batch]:
    """Batches of images with their classes, -1 for none; only one batch is in memory.

    Raises:
        ValueError: images of several sizes.
    """
    stream = iter(images)
    seen = 0
    while part := list(islice(stream, BATCH)):
        arrays = [torch.from_numpy(np.array(image.convert("RGB"))) for image, _ in part]
        for number, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                (height, width), (other_height, other_width) = arrays[0].shape[:2], array.shape[:2]
                raise ValueError(
                    f"images of several sizes: {width}x{height} and {other_width}x"
                    f"{other_height} (image {seen + number}); all must have one"
                )
        labels = [label for _, label in part]
        yield torch.stack(arrays), torch.tensor(labels) if min(labels) >= 0 else None
        seen += len(part)

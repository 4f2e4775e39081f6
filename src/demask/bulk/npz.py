"""Many images in one ``.npz`` file, the format that ADM's evaluator reads (arXiv 2105.05233).

Shape legend: N images, H W rows and columns of pixels.
"""

from __future__ import annotations

import zipfile
from array import array
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

import numpy as np

from demask.data.array_file import npy_header
from demask.files import write_atomically
from demask.image import GeneratedImage


def write_npz(path: Path, images: Iterable[GeneratedImage], count: int) -> None:
    """Write ``arr_0``, uint8 (N, H, W, 3), and ``arr_1``, the labels, int64 (N).

    The images are written one by one under a temporary name, which is then renamed.

    Args:
        path: the file, replaced if it exists.
        images: at least ``count``, all of one size.
        count: N.

    Raises:
        OSError: the disk is full or the folder is not writable; no partial file is left.
    """
    write_atomically(path, lambda temporary: _write(temporary, images, count))


def _write(temporary: Path, images: Iterable[GeneratedImage], count: int) -> None:
    labels = array("q")
    stream = islice(images, count)
    with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        first = next(stream)
        width, height = first.image.size
        with archive.open("arr_0.npy", "w", force_zip64=True) as file:
            file.write(npy_header(np.uint8, (count, height, width, 3)))
            for image in chain([first], stream):
                assert image.image.size == (width, height)
                labels.append(image.label)
                file.write(image.image.convert("RGB").tobytes())
        assert len(labels) == count
        with archive.open("arr_1.npy", "w", force_zip64=True) as file:
            file.write(npy_header(np.int64, (count,)))
            file.write(np.asarray(labels, dtype=np.int64).tobytes())

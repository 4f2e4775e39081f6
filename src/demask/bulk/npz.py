"""Many images in one ``.npz`` file, the format that ADM's evaluator reads (arXiv 2105.05233).

Shape legend: N images, H W rows and columns of pixels.
"""

from __future__ import annotations

import shutil
import zipfile
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np

from demask.data.array_file import npy_header
from demask.evaluation.images import read_header
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


def join_npz(path: Path, parts: Sequence[Path], comment: str) -> None:
    """Write the images of several such files, in their order, as one.

    The pixels are copied in blocks, under a temporary name, which is then renamed.

    Args:
        path: the file, replaced if it exists.
        parts: files of `write_npz` with images of one size.
        comment: stored in the file; see `read_comment`.

    Raises:
        OSError: the disk is full or the folder is not writable; no partial file is left.
    """
    write_atomically(path, lambda temporary: _join(temporary, parts, comment))


def _join(temporary: Path, parts: Sequence[Path], comment: str) -> None:
    with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        archive.comment = comment.encode()
        for name, dtype in (("arr_0.npy", np.uint8), ("arr_1.npy", np.int64)):
            shapes = [_copy(part, name) for part in parts]
            shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
            assert len({shape[1:] for shape in shapes}) == 1
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(npy_header(dtype, shape))
                for part in parts:
                    _copy(part, name, file)


def _copy(part: Path, name: str, target: IO[bytes] | None = None) -> tuple[int, ...]:
    """The shape of an array in a file; its bytes are appended to a target, if there is one."""
    with zipfile.ZipFile(part) as archive, archive.open(name) as file:
        shape = read_header(file)[0]
        if target is not None:
            shutil.copyfileobj(file, target)
    return shape


def read_comment(path: Path) -> str | None:
    """The comment in the file; None if it is no zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment.decode(errors="replace")
    except zipfile.BadZipFile:
        return None

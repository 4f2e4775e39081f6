"""Arrays in NumPy's .npy format that are written part by part.

A memory-mapped array would kill the process with a bus error where the disk becomes full.

Shape legend: N rows of an array, P rows of a part.
"""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike

from demask.files import write_atomically

Append = Callable[[np.ndarray], None]


def npy_header(dtype: DTypeLike, shape: tuple[int, ...]) -> bytes:
    """What a .npy file has before the values of an array in C order."""
    header: dict[str, Any] = {
        "descr": npy.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def reserve(file: BinaryIO, size: int) -> None:
    """Take the room of a file on the disk, where the file system can.

    Raises:
        OSError: there is not so much room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


@contextmanager
def array_parts(temporary: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[Append]:
    """Yield a function that appends the next part (P, ...) of an array of (N, ...).

    The room of the whole array is reserved first, where the operating system can: a full disk is
    known before any part is computed.

    Args:
        temporary: the file, in a folder that is not complete yet.
        dtype: of the array.
        shape: of the array.

    Raises:
        OSError: the disk is full.
    """
    header, written = npy_header(dtype, shape), 0
    with temporary.open("wb") as file:
        reserve(file, len(header) + math.prod(shape) * np.dtype(dtype).itemsize)
        file.write(header)

        def append(part: np.ndarray) -> None:
            nonlocal written
            assert part.shape[1:] == shape[1:]
            file.write(np.ascontiguousarray(part, dtype).data)
            written += len(part)

        yield append
    assert written == shape[0]


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """

    def write(temporary: Path) -> None:
        with array_parts(temporary, array.dtype, array.shape) as append:
            append(array)

    write_atomically(path, write)

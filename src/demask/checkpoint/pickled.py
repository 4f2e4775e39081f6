"""Read PyTorch's pickle files without executing code, and only the tensors that are needed."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from demask.checkpoint.stream import PIECE_BYTES, Stored, read_converted, read_tensor

WEIGHTS = ("ema", "model", "model_state_dict", "state_dict")
"""Entries that hold the weights in a training's file, beside its optimiser; the best one first."""


def load_pickle(file: IO[bytes] | Path, device: str = "cpu") -> Any:
    """Load a PyTorch file without executing code.

    Raises:
        pickle.UnpicklingError: it contains more than tensors and plain values.
        RuntimeError, EOFError, OSError, ...: it is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # warnings about unusual pickles, which are read or refused anyway
        return torch.load(file, map_location=device, weights_only=True)


def read_pickle(file: IO[bytes] | Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The named tensors in a PyTorch file, or in the first of its `WEIGHTS`.

    Of a file of PyTorch's zip format, given as a path, only these tensors are read: an optimiser's
    state beside them takes no memory.

    Args:
        file: an open file, or a path.
        dtype: convert floating-point tensors to this type (default: as they are stored).

    Raises:
        ValueError: it is broken, has no named tensors, or contains more than tensors.
    """
    try:
        if isinstance(file, Path) and is_zipfile(file):
            tensors = table_of(load_pickle(file, "meta"))
            if all(hasattr(t.untyped_storage(), OFFSET) for t in tensors.values()):
                with file.open("rb") as stream:
                    return read_stored(stream, tensors, dtype)
        tensors = table_of(load_pickle(file))
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise ValueError(
                "holds Python objects beside tensors, which could run code; refused"
            ) from None
        raise ValueError("not a readable PyTorch file") from None
    except NoTableError:
        raise
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"not a readable PyTorch file ({first_line(error)})") from None
    for name in [name for name, tensor in tensors.items() if converts(tensor, dtype)]:
        tensors[name] = tensors[name].to(dtype)  # one by one, so that each original is freed
    return tensors


class NoTableError(ValueError):
    """A PyTorch file that holds no table of named tensors."""


def table_of(content: object) -> dict[str, Tensor]:
    """The named tensors, or those in the first of the `WEIGHTS`.

    Raises:
        NoTableError: there are none.
    """
    found = content
    if isinstance(content, Mapping):
        nested = (content[name] for name in WEIGHTS if name in content)
        found = next(filter(is_table, nested), content)
    if not is_table(found):
        raise NoTableError("does not hold a table of named tensors")
    assert isinstance(found, Mapping)
    return dict(found)


def is_table(content: object) -> bool:
    """Whether an object is a table of named tensors."""
    return isinstance(content, Mapping) and all(isinstance(t, Tensor) for t in content.values())


OFFSET = "_checkpoint_offset"
"""Where PyTorch notes the place of a tensor's data in a file that is loaded without its data."""


def read_stored(
    stream: BufferedReader, tensors: Mapping[str, Tensor], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Read tensors from their places in a file, each storage once.

    Args:
        stream: the file.
        tensors: without data (device ``meta``), of the shapes and types that are stored.
        dtype: convert floating-point tensors to this type.

    Raises:
        ValueError: the file is cut short.
    """
    bytes_N = torch.empty(PIECE_BYTES, dtype=torch.uint8)
    read: dict[Any, Tensor] = {}
    found = {}
    for name, tensor in tensors.items():
        begin = getattr(tensor.untyped_storage(), OFFSET)
        begin += tensor.storage_offset() * tensor.itemsize
        key = begin, tensor.shape, tensor.stride(), tensor.dtype
        if key not in read:
            steps = zip(tensor.shape, tensor.stride(), strict=True)
            span = 1 + sum((size - 1) * stride for size, stride in steps) if tensor.numel() else 0
            stored = Stored(name, tensor.dtype, (span,), begin)
            stream.seek(begin)
            if dtype is not None and converts(tensor, dtype):
                flat_N = read_converted(stream, stored, dtype, bytes_N)
            else:
                flat_N = read_tensor(stream, stored)
            read[key] = flat_N.as_strided(tensor.shape, tensor.stride())
        found[name] = read[key]
    return found


def converts(tensor: Tensor, dtype: torch.dtype | None) -> bool:
    """Whether a tensor is converted to a type."""
    return dtype is not None and tensor.is_floating_point() and tensor.dtype != dtype


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)

"""Read PyTorch's pickle files without executing code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from zipfile import is_zipfile

import torch
from torch import Tensor

WEIGHTS = ("ema", "model", "model_state_dict", "state_dict")
"""Entries that hold the weights in a training's file, beside its optimiser; the best one first."""


def load_pickle(file: IO[bytes] | Path, *, mmap: bool = False) -> Any:
    """Load a PyTorch file without executing code.

    Args:
        file: an open file, or its path.
        mmap: map the file, which must be a path; only tensors that are used take memory.

    Raises:
        pickle.UnpicklingError: it contains more than tensors and plain values.
        RuntimeError, EOFError, OSError, ...: it is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # warnings about unusual pickles, which are read or refused anyway
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)


def read_pickle(file: IO[bytes] | Path) -> dict[str, Tensor]:
    """The named tensors in a PyTorch file, or in the first of its `WEIGHTS`.

    A file of PyTorch's zip format is mapped where ``file`` is a path: an optimiser's state beside
    the weights is never read.

    Raises:
        ValueError: it is broken, has no named tensors, or contains more than tensors.
    """
    try:
        content = load_pickle(file, mmap=isinstance(file, Path) and is_zipfile(file))
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise ValueError(
                "holds Python objects beside tensors, which could run code; refused"
            ) from None
        raise ValueError("not a readable PyTorch file") from None
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"not a readable PyTorch file ({first_line(error)})") from None
    if isinstance(content, Mapping):
        nested = (content[name] for name in WEIGHTS if name in content)
        content = next(filter(is_table, nested), content)
    if not is_table(content):
        raise ValueError("does not hold a table of named tensors")
    return dict(content)


def is_table(content: object) -> bool:
    """Whether an object is a table of named tensors."""
    return isinstance(content, Mapping) and all(isinstance(t, Tensor) for t in content.values())


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)

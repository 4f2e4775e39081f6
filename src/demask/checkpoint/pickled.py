"""Read PyTorch's pickle files without executing code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor


def load_pickle(file: IO[bytes] | Path) -> Any:
    """Load a PyTorch file without executing code.

    Raises:
        pickle.UnpicklingError: it contains more than tensors and plain values.
        RuntimeError, EOFError, OSError, ...: it is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # warnings about unusual pickles, which are read or refused anyway
        return torch.load(file, map_location="cpu", weights_only=True)


def read_pickle(file: IO[bytes]) -> dict[str, Tensor]:
    """The named tensors in a PyTorch file, or in its ``state_dict``.

    Raises:
        ValueError: it is broken, has no named tensors, or contains more than tensors.
    """
    try:
        content = load_pickle(file)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise ValueError(
                "holds Python objects beside tensors, which could run code; refused"
            ) from None
        raise ValueError("not a readable PyTorch file") from None
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"not a readable PyTorch file ({first_line(error)})") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(t, Tensor) for t in content.values()):
        raise ValueError("does not hold a table of named tensors")
    return dict(content)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)

"""Explicit key maps from the arrays of a source to our tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from demask.checkpoint.plausible import listed
from demask.checkpoint.read import CheckpointError, Tensors


def unchanged(tensor: Tensor) -> Tensor:
    """No conversion."""
    return tensor


@dataclass(frozen=True)
class KeyRule:
    """One rule of a key map.

    Attributes:
        ours: our key.
        theirs: the key in the source.
        change: converts the array to our tensor.
    """

    ours: str
    theirs: str
    change: Callable[[Tensor], Tensor] = unchanged


def translate(rows: Iterable[KeyRule], source: Mapping[str, Tensor]) -> Tensors:
    """Apply a key map.

    Raises:
        CheckpointError: the source lacks keys of the map or has other keys; the message names
            the first of each kind.
    """
    rows = list(rows)
    wanted = {row.theirs for row in rows}
    missing, unexpected = sorted(wanted - set(source)), sorted(set(source) - wanted)
    parts = [
        f"{what}: {listed(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if parts:
        raise CheckpointError("arrays do not fit the key map; " + "; ".join(parts))
    return {row.ours: row.change(source[row.theirs]).contiguous() for row in rows}

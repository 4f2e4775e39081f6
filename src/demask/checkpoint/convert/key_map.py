"""An explicit key map: which tensor of ours comes from which array of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from demask.checkpoint.read import CheckpointError, Tensors


def unchanged(tensor: Tensor) -> Tensor:
    """Stored as we store it."""
    return tensor


@dataclass(frozen=True)
class KeyRule:
    """One line of a key map.

    Attributes:
        ours: our key.
        theirs: the key in the source.
        change: how their array becomes our tensor.
    """

    ours: str
    theirs: str
    change: Callable[[Tensor], Tensor] = unchanged


def translate(rows: Iterable[KeyRule], source: Mapping[str, Tensor]) -> Tensors:
    """Our tensors, by the map.

    Raises:
        CheckpointError: names every key of the map that the source lacks, and every key of the
            source that the map does not know.
    """
    rows = list(rows)
    wanted = {row.theirs for row in rows}
    missing, unexpected = sorted(wanted - set(source)), sorted(set(source) - wanted)
    parts = [
        f"{what}: {', '.join(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if parts:
        raise CheckpointError("arrays do not fit the key map; " + "; ".join(parts))
    return {row.ours: row.change(source[row.theirs]).contiguous() for row in rows}

"""Refuse a checkpoint whose description and tensors cannot belong together, before it is built.

A configuration of a few bytes can describe a network of any size, so its numbers are compared with
the tensors that are really there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from demask.checkpoint.read import CheckpointError
from demask.checkpoint.stream import MAX_TENSORS

log = logging.getLogger(__name__)

REPEATS = ("depth", "blocks", "layers", "num_blocks", "num_layers")
"""Endings of the entries that count repeated parts; each part has at least one tensor."""
POSITIVE = ("heads", "head_width", "width", "grid", "codebook_size")
"""The entries that are at least 1."""
PREFIXES = ("module.", "_orig_mod.", "ema.", "model.")
"""What programs put in front of the keys of a network: data parallelism, compilation, averages."""
NAMED = 8
"""So many keys of a kind are named in a message."""


def check_config(config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Compare the numbers of a configuration with the tensors.

    Raises:
        CheckpointError: a size below 1 or a negative number, more repeated parts than tensors, or a
            size above the number of values in all tensors.
    """
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"{len(tensors)} tensors; at most {MAX_TENSORS} are read")
    values = sum(tensor.numel() for tensor in tensors.values())
    for name, number in numbers_of(config):
        repeated = name.endswith(REPEATS)
        if number < (1 if name in POSITIVE else 0):
            raise CheckpointError(f"its configuration has {name} = {number}")
        if number > (len(tensors) if repeated else max(values, 1)):
            raise CheckpointError(
                f"its configuration has {name} = {number}, the file {len(tensors)} tensors of "
                f"{values} values: they do not belong together"
            )


def numbers_of(config: Any) -> Iterator[tuple[str, int]]:
    """The integers of a configuration, of its tuples and of the configurations inside."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from numbers_of(value)
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and not isinstance(number, bool):
                yield field.name, number


def check_values(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Compare the number types of the tensors with those of the network, and look for NaN.

    Args:
        expected: the network's tensors, which need no memory.
        tensors: those of the file, of the same names and shapes.

    Raises:
        CheckpointError: whole numbers in place of weights, or weights that are not finite.
    """
    whole = [
        name
        for name, own in expected.items()
        if own.is_floating_point() and not tensors[name].is_floating_point()
    ]
    if whole:
        raise CheckpointError(
            f"whole numbers ({tensors[whole[0]].dtype}) in place of weights: {listed(whole)}"
        )
    wild = [name for name in expected if not is_finite(tensors[name])]
    if wild:
        raise CheckpointError(f"weights that are not finite (NaN or Inf): {listed(wild)}")


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor Inf; of 8-bit types, True."""
    if not tensor.is_floating_point() or tensor.dtype.itemsize == 1 or tensor.is_meta:
        return True
    # one pass without memory; NaN is both the least and the largest value
    return not tensor.numel() or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def without_prefix(expected: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the network's own names, where all of them have a known prefix."""
    for prefix in PREFIXES:
        if (
            tensors
            and not set(tensors) & set(expected)
            and all(n.startswith(prefix) for n in tensors)
        ):
            log.warning("the keys of all tensors begin with '%s'; it is taken off", prefix)
            return without_prefix(
                expected, {name.removeprefix(prefix): t for name, t in tensors.items()}
            )
    return tensors


def bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the known prefixes that all of their names have."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return bare({name.removeprefix(prefix): t for name, t in tensors.items()})
    return tensors


def listed(names: list[str]) -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

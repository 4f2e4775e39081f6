"""Load a network from a file, a directory, a zip or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES, Architecture
from demask.checkpoint.hub import locate
from demask.checkpoint.identify import described
from demask.checkpoint.plausible import check_config, check_values, listed, without_prefix
from demask.checkpoint.quantized import prepare
from demask.checkpoint.read import (
    CheckpointError,
    Description,
    Tensors,
    read_description,
    read_tensors,
)
from demask.checkpoint.unfilled import Unfilled

__all__ = ["CheckpointError", "load_model", "read_metadata"]


def load_model(
    name_or_path: str | Path,
    *,
    architecture: str | None = None,
    subfolder: str = "",
    revision: str | None = None,
    variant: str | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Load a network, ready for inference.

    Args:
        name_or_path: what `read_tensors` reads, a hub id "owner/name", or a file of one.
        architecture: a row of `ARCHITECTURES` (default: as described in the checkpoint).
        subfolder: the folder of the network inside a directory or hub repository of several.
        revision: of a hub repository.
        variant: of the weights, where a folder holds several; see `read_tensors`.
        dtype: convert floating-point weights to this type (default: as they are stored).
        device: where to put it.

    Raises:
        CheckpointError: it cannot be read, does not describe its architecture, or its tensors do
            not match; the message names the missing, unexpected and mis-shaped keys, the first of
            each kind.
        ValueError: an unknown architecture.
    """
    path = locate(name_or_path, subfolder, revision)
    tensors, description = read_tensors(path, dtype=dtype, variant=variant)
    try:
        name, config, tensors = described(tensors, description, architecture)
        return build(ARCHITECTURES[name], config, tensors, description).to(device)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def read_metadata(name_or_path: str | Path) -> Description:
    """The description of a checkpoint: our metadata, or the public ``config.json``.

    Raises:
        CheckpointError: it cannot be read.
    """
    return read_description(locate(name_or_path))


def build(
    row: Architecture, config: Any, tensors: Tensors, description: Description | None = None
) -> nn.Module:
    """Build a network from tensors, which are used without a copy.

    The description lists its quantized layers.

    Raises:
        CheckpointError: the configuration is invalid, or the tensors do not match it.
    """
    check_config(config, tensors)
    try:
        with Unfilled():
            module = row.module(config)
            prepare(module, description or {})
    except CheckpointError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"its configuration describes no network ({error})") from None
    own = module.state_dict()
    tensors = without_prefix(own, tensors)
    check_tensors({name: t.shape for name, t in own.items()}, tensors)
    check_values(own, tensors)
    module.load_state_dict(tensors, assign=True)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    assert not left, f"not stored in the state dict and not made from numbers: {left}"
    return module.eval()


def check_tensors(expected: Mapping[str, torch.Size | tuple[int, ...]], tensors: Tensors) -> None:
    """Check names and shapes.

    Raises:
        CheckpointError: names the missing, unexpected and mis-shaped keys, the first of each kind.
    """
    problems = {
        "missing": sorted(set(expected) - set(tensors)),
        "unexpected": sorted(set(tensors) - set(expected)),
        "mis-shaped": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != torch.Size(shape)
        ],
    }
    lines = [f"{what}: {listed(keys)}" for what, keys in problems.items() if keys]
    if lines:
        raise CheckpointError("tensors do not fit; " + "; ".join(lines))

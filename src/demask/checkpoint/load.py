"""Load a network from a file, a directory, a zip or the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demask.checkpoint.architectures import ARCHITECTURES, Architecture
from demask.checkpoint.identify import described
from demask.checkpoint.layout import PICKLED, SAFE, ZIP
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

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PIPELINE = "model_index.json"
"""Names the parts of a pipeline, each in a folder next to it."""
OF_A_VARIANT = ("*.*.safetensors", "*.*-*-of-*.safetensors")
"""Patterns of ``model.fp16.safetensors`` and its shards."""


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
        name_or_path: what `read_tensors` reads, or a hub id "owner/name".
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


def locate(name_or_path: str | Path, subfolder: str = "", revision: str | None = None) -> Path:
    """The local path of a checkpoint, downloaded from the hub if necessary.

    Raises:
        CheckpointError: neither a path nor a hub id, or the download failed.
    """
    path = Path(name_or_path)
    if path.exists():
        return path / subfolder
    if not is_hub_id(str(name_or_path)):
        raise CheckpointError(
            f"{name_or_path}: no such file or directory, and not a hub id 'owner/name'"
        )
    return _download(str(name_or_path), revision, subfolder) / subfolder


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id, "owner/name", and not that of a file."""
    return bool(HUB_ID.fullmatch(name)) and Path(name).suffix not in (SAFE, ZIP, *PICKLED)


def locate_pipeline(
    name_or_path: str | Path, revision: str | None = None, variant: str | None = None
) -> Path:
    """The local folder of a pipeline, downloaded from the hub if necessary.

    It holds ``model_index.json`` and a folder for each part, which `load_model` takes as
    ``subfolder``. If the hub has several variants of the weights, one is downloaded.

    Args:
        name_or_path: a folder, or a hub id "owner/name".
        revision: of a hub repository.
        variant: which variant of the weights to download, such as "fp16" (default: the plain
            one).

    Raises:
        CheckpointError: neither a folder nor a hub id, no pipeline, or the download failed.
    """
    path = Path(name_or_path)
    if not path.exists() and HUB_ID.fullmatch(str(name_or_path)):
        path = _download_pipeline(str(name_or_path), revision, variant)
    if not (path / PIPELINE).is_file():
        raise CheckpointError(f"{name_or_path}: no pipeline, which is a folder with a {PIPELINE}")
    return path


def _download_pipeline(hub_id: str, revision: str | None, variant: str | None) -> Path:
    """Download a snapshot of a pipeline, or only its descriptions if it is none."""
    folder = _snapshot(hub_id, revision, ["*.json", "*.txt"])
    if not (folder / PIPELINE).is_file():
        return folder
    anything = ["*.safetensors"]
    choices: list[tuple[Sequence[str], Sequence[str]]] = [(anything, OF_A_VARIANT), (anything, ())]
    if variant:
        choices.insert(0, ([f"*.{variant}.safetensors", f"*.{variant}-*.safetensors"], ()))
    # the wanted variant of every part, then any weights of the parts that lack it
    parts = sorted(config.parent for config in folder.glob("*/config.json"))
    for patterns, ignored in choices:
        wanted = [f"{part.name}/{pattern}" for part in parts for pattern in patterns]
        _snapshot(hub_id, revision, wanted, ignored)
        parts = [part for part in parts if not any(part.glob("*.safetensors"))]
        if not parts:
            break
    return folder


def _download(hub_id: str, revision: str | None, subfolder: str) -> Path:
    """Download the safetensors of one folder, or its pickles if it has none."""
    prefix = f"{subfolder}/" if subfolder else ""
    for kind in ("*.safetensors", "*.bin"):
        folder = _snapshot(hub_id, revision, [f"{prefix}*.json", prefix + kind], [f"{prefix}*/*"])
        if any((folder / subfolder).glob(kind)):
            break
    return folder


def _snapshot(
    hub_id: str, revision: str | None, patterns: Sequence[str], ignored: Sequence[str] = ()
) -> Path:
    """Download files by pattern; the folder may also contain files of earlier downloads."""
    from huggingface_hub import snapshot_download  # slow to import, rarely needed

    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )
    except Exception as error:  # its network libraries raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{hub_id}: not to be had from the hub ({reason})") from None


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

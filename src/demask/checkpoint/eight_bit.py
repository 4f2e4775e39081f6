"""Matrices stored in eight bits with a scale a row: half of float16's size, for files that travel.

They are read back as floating-point numbers, so a network knows nothing of it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from demask.checkpoint.read import Tensors, read_tensors
from demask.checkpoint.rows import SCALE
from demask.checkpoint.save import save_tensors

LEAST = 4096
"""Smaller tensors stay as they are."""
TOP = 127


def shrink_tensors(tensors: Tensors) -> Tensors:
    """Each large matrix as int8, with the scale of its rows beside it."""
    small: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < LEAST or not tensor.is_floating_point():
            small[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = (rows.abs().amax(1) / TOP).clamp_min(torch.finfo(torch.float32).tiny)
        small[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        small[name + SCALE] = scale
    return small


def shrink_model(source: Path, out: Path) -> list[Path]:
    """Write a model's folder anew with its networks in eight bits; the text encoder stays.

    Args:
        source: a folder that training wrote.
        out: another folder.

    Returns:
        The files written.

    Raises:
        CheckpointError: a network is broken.
        ValueError: there is none, or both folders are one.
    """
    networks = sorted(source.glob("*.safetensors"))
    if not networks:
        raise ValueError(f"{source} holds no networks (transformer.safetensors, ...)")
    if out.resolve() == source.resolve():
        raise ValueError(f"{out}: name another folder; this one is read")
    for path in networks:
        tensors, description = read_tensors(path)
        save_tensors(out / path.name, shrink_tensors(tensors), description)
    text = source / "text_encoder"
    if text.is_dir():
        shutil.copytree(text, out / "text_encoder", dirs_exist_ok=True)
    return [out / path.name for path in networks]

"""Store matrices as int8 with one scale per row: half the size of float16.

They are converted back to floating point when they are read.
"""

from __future__ import annotations

from pathlib import Path

import torch

from demask.checkpoint.read import Tensors, read_tensors
from demask.checkpoint.rows import SCALE
from demask.checkpoint.save import save_tensors
from demask.files import copy_files, files_written_together

LEAST = 4096
"""Smaller tensors are not converted."""
TOP = 127


def shrink_tensors(tensors: Tensors) -> Tensors:
    """Convert each large matrix to int8, with a tensor of row scales."""
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
    """Copy a model's folder with its networks in 8 bits; the text encoder is not converted.

    Args:
        source: a folder that training wrote.
        out: the folder to write.

    Returns:
        The files written.

    Raises:
        CheckpointError: a network is broken.
        ValueError: there is no network, or both folders are the same.
    """
    networks = sorted(source.glob("*.safetensors"))
    if not networks:
        raise ValueError(f"{source} holds no networks (transformer.safetensors, ...)")
    if out.resolve() == source.resolve():
        raise ValueError(f"{out}: name another folder; this one is read")
    with files_written_together(out) as work:
        for path in networks:
            tensors, description = read_tensors(path)
            save_tensors(work / path.name, shrink_tensors(tensors), description)
        copy_files(source / "text_encoder", work / "text_encoder")
    return [out / path.name for path in networks]

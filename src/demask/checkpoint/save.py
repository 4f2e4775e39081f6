"""Write checkpoints: safetensors with the configuration in the metadata, atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demask.files import write_atomically

METADATA_KEY = "demask"


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors and a JSON description of them as safetensors."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    header = {METADATA_KEY: json.dumps(metadata or {}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, header))


def save_model(
    path: Path, module: nn.Module, architecture: str, dtype: torch.dtype | None = None, **more: Any
) -> None:
    """Write a network: tensors, architecture name and configuration.

    Args:
        path: the ``.safetensors`` file.
        module: has a ``config``, a frozen dataclass.
        architecture: its row in the table of architectures.
        dtype: store floating-point tensors in this type (default: as they are).
        more: further JSON values for the metadata (class names, training facts).
    """
    tensors = {
        name: t.to(dtype) if dtype and t.is_floating_point() else t
        for name, t in module.state_dict().items()
    }
    config = asdict(module.config)  # type: ignore[call-overload]
    save_tensors(path, tensors, {"architecture": architecture, "config": config, **more})

"""Write checkpoints: safetensors with the configuration in the metadata, atomically."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

METADATA_KEY = "demask"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make the file under a temporary name beside ``path``, then rename it.

    The data reaches the disk before the name does; on any error nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by `write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


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

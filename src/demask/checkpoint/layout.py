"""Which files of a checkpoint hold its weights, and how they describe themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Description = dict[str, Any]

SAFE = ".safetensors"
ZIP = ".zip"
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
VALID = ", ".join((SAFE, *PICKLED, ZIP))
INDEX = re.compile(r".*\.safetensors\.index(\.\w+)?\.json")
HALF = "fp16"
"""The variant of a public repository's weights that is stored in float16."""


POINTER = b"version https://git-lfs.github.com/spec/"
"""The first bytes of the small text that git stores in place of a large file."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one line."""


def parse_json(text: str | bytes, source: Path | str) -> Description:
    """Parse a JSON object.

    Raises:
        CheckpointError: it is not valid, or not an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{source}: should be a JSON object")
    return value


def parse_yaml(text: str | bytes, source: Path | str) -> Description:
    """Parse a YAML mapping.

    Raises:
        CheckpointError: it is not valid, or no mapping.
    """
    import yaml  # slow to import, rarely needed

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source}: not valid YAML ({reason})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{source}: should be a YAML mapping")
    return value


def refuse_pointer(path: Path) -> None:
    """Raise a CheckpointError for a git-lfs pointer, which stands for a file that is not here."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(POINTER):
        size = re.search(rb"^size (\d+)$", start, re.MULTILINE)
        of = f" of {int(size[1]):,} bytes" if size else ""
        raise CheckpointError(
            f"{path}: a git-lfs pointer, not the file{of} that it stands for; run 'git lfs pull' "
            "in its repository, or download the file"
        )


def variants_of(dtype: torch.dtype | None, variant: str | None) -> tuple[str, ...]:
    """The variants of a directory's weights to look for, best first; "" is the plain one."""
    if variant is not None:
        return (variant,)
    return (HALF, "") if dtype == torch.float16 else ("", HALF)


def weights_of(path: Path, variants: tuple[str, ...]) -> Path:
    """The weights file or index of a path: the path itself, or that of a directory."""
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        return path / choose_weights(names, path, variants)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or directory")
    return path


def _conventional(variant: str) -> Iterator[str]:
    """The names of weights in public repositories, best first."""
    dot = f".{variant}" if variant else ""
    for stem in ("model", "diffusion_pytorch_model"):
        yield f"{stem}{dot}.safetensors"
        yield f"{stem}.safetensors.index{dot}.json"
        yield f"{stem}{dot}.safetensors.index.json"
    yield from (f"pytorch_model{dot}.bin", f"diffusion_pytorch_model{dot}.bin")


def conventional(names: Collection[str], variants: tuple[str, ...] = ("", HALF)) -> str | None:
    """The weights of a conventional name among file names, the best first; None: there are none."""
    usual = (name for variant in variants for name in _conventional(variant))
    return next((name for name in usual if name in names), None)


def choose_weights(names: Collection[str], source: Path, variants: tuple[str, ...]) -> str:
    """The weights among file names: a conventional name, else the only index or file.

    Raises:
        CheckpointError: there is none, several, or none of the requested variant.
    """
    if usual := conventional(names, variants):
        return usual
    if len(variants) == 1 and variants[0]:
        raise CheckpointError(f"{source}: no weights of the variant '{variants[0]}'")
    indices = [name for name in names if INDEX.fullmatch(name)]
    found = [name for name in names if name.endswith((SAFE, *PICKLED))]
    if len(indices) == 1 or len(found) == 1:
        return (indices if len(indices) == 1 else found)[0]
    if found:
        raise CheckpointError(f"{source}: several weights files, name one: {', '.join(found)}")
    raise CheckpointError(f"{source}: no weights file; valid: {VALID}")

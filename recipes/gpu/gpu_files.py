"""The files of the results: archives of models, each complete and below a size."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from gpu_plan import Bundle

from demask.checkpoint.eight_bit import shrink_tensors
from demask.checkpoint.read import read_tensors
from demask.checkpoint.save import save_tensors
from demask.files import write_atomically

MOST = 16_000_000
"""Bytes of a file."""


def write_bundle(bundle: Bundle, work: Path, out: Path) -> int:
    """Write the parts of a bundle that are there; return the bytes, 0 if there are none.

    Raises:
        ValueError: the archive would be too large; nothing is written then.
    """
    parts = [part for part in bundle.parts if (work / part).exists()]
    if not parts:
        return 0

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w") as archive:
            for part in parts:
                archive.add(work / part, part, filter=plain)
        if (size := temporary.stat().st_size) > MOST:
            raise ValueError(f"{bundle.file} would have {size:,} bytes; the limit is {MOST:,}")

    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / bundle.file, write)
    return (out / bundle.file).stat().st_size


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry without information on the machine or the time."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def shrink(source: Path, target: Path) -> None:
    """Copy a model's folder with its transformer in eight bits.

    The tokenizer is not changed, so that the tokens are those of the transformer's training; a
    module that is trained for the copy fits the file of the results.
    """
    tensors, description = read_tensors(source / "transformer.safetensors")
    target.mkdir(parents=True, exist_ok=True)
    save_tensors(target / "transformer.safetensors", shrink_tensors(tensors), description)
    if (source / "tokenizer.safetensors").exists():
        shutil.copy2(source / "tokenizer.safetensors", target)
    if (source / "text_encoder").is_dir():
        shutil.copytree(source / "text_encoder", target / "text_encoder", dirs_exist_ok=True)
    tokens = target / "tokens"
    if (source / "tokens").is_dir() and not tokens.exists():
        tokens.symlink_to((source / "tokens").resolve())

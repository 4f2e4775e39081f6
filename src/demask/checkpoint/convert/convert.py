"""Convert a checkpoint of a known kind and write the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.convert import jax_maskgit, unlockmgm
from demask.checkpoint.convert.converted import Converted
from demask.checkpoint.hub import locate
from demask.checkpoint.identify import described
from demask.checkpoint.layout import PICKLED, SAFE, ZIP, CheckpointError
from demask.checkpoint.load import build
from demask.checkpoint.read import read_tensors
from demask.checkpoint.save import save_tensors
from demask.files import files_written_together
from demask.registry import Table, unknown


def pytorch(path: Path) -> list[Converted]:
    """A PyTorch checkpoint that `demask.checkpoint.load.load_model` reads."""
    tensors, description = read_tensors(path)
    try:
        if description.get("_class_name") == unlockmgm.CLASS_NAME:
            return unlockmgm.networks(tensors, description)
        return [Converted(*described(tensors, description))]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from None


KINDS: Table[Callable[[Path], list[Converted]]] = Table(
    "kind of checkpoint", {"pytorch": pytorch, "jax_maskgit": jax_maskgit.convert}
)


def convert(source: str | Path, out: Path, kind: str | None = None) -> list[Path]:
    """Convert a checkpoint and write one safetensors file per network in it.

    The files have the names that `demask.load` expects: a transformer and a tokenizer in one
    folder form a model.

    Args:
        source: a file, a directory, a zip or a hub id.
        out: the folder to write; created if necessary.
        kind: a row of `KINDS` (default: detected).

    Returns:
        The files written.

    Raises:
        CheckpointError: the source cannot be read or does not match; nothing is written.
        ValueError: an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(unknown(KINDS.kind, kind, KINDS))
    path = locate(source)
    networks = KINDS[kind or recognise(path)](path)
    for network in networks:
        if network.architecture in ARCHITECTURES:
            try:
                build(ARCHITECTURES[network.architecture], network.config, network.tensors)
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from None

    with files_written_together(out) as work:
        for network in networks:
            save_tensors(work / network.file_name, network.tensors, network.description)
    return [out / network.file_name for network in networks]


def recognise(path: Path) -> str:
    """Detect the kind of a checkpoint: the JAX files have no known suffix."""
    readable = path.is_dir() or path.suffix in (SAFE, ZIP, *PICKLED)
    return "pytorch" if readable else "jax_maskgit"

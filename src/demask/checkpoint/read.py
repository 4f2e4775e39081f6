"""Read checkpoint files of every layout into named tensors and a description.

No code in a file is executed, and a broken file raises a one-line error.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from demask.checkpoint.layout import (
    INDEX,
    PICKLED,
    SAFE,
    VALID,
    ZIP,
    CheckpointError,
    Description,
    Tensors,
    choose_weights,
    parse_json,
    parse_yaml,
    refuse_pointer,
    variants_of,
    weights_of,
)
from demask.checkpoint.pickled import first_line, load_pickle, read_pickle
from demask.checkpoint.rows import expand_rows
from demask.checkpoint.save import METADATA_KEY
from demask.checkpoint.stream import read_header, read_stream
from demask.checkpoint.zipped import (
    MAX_ZIP_BYTES,
    checked_member,
    members_of,
    open_zip,
    zipped_config,
)

__all__ = [
    "CheckpointError",
    "Description",
    "Tensors",
    "load_pickle",
    "parse_json",
    "read_description",
    "read_tensors",
]


def read_tensors(
    path: Path | str, *, dtype: torch.dtype | None = None, variant: str | None = None
) -> tuple[Tensors, Description]:
    """Read a checkpoint: a directory, a single file, or a zip of a directory.

    Safetensors are converted while they are read, so the weights are in memory only once.

    Args:
        path: a directory (``config.json`` and one weights file, or a sharded safetensors
            index), a ``.safetensors`` file, a ``.bin``, ``.ckpt``, ``.pt`` or ``.pth`` file of
            tensors, or a ``.zip`` of such a directory.
        dtype: convert floating-point tensors to this type (default: as they are stored).
        variant: variant of a directory's weights, such as "fp16" for
            ``model.fp16.safetensors``, or "" for ``model.safetensors``. The default is "", or
            "fp16" if ``dtype`` is float16, or whatever exists.

    Returns:
        The tensors by name, and the description: our own metadata (``architecture``, ``config``)
        if the file has it, else the public ``config.json`` beside it, else the yaml file of the
        same name, else an empty dict.

    Raises:
        CheckpointError: no such file or variant, an unknown layout, a broken file, or a pickle
            that holds more than tensors.
    """
    path, variants = Path(path), variants_of(dtype, variant)
    if path.suffix == ZIP and path.is_file():
        return _read_zip(path, variants, dtype)
    weights = weights_of(path, variants)
    read = _read_shards if INDEX.fullmatch(weights.name) else _read_weights
    return expand_rows(read(weights, dtype), dtype), _description_of(weights)


def read_description(
    path: Path | str, *, dtype: torch.dtype | None = None, variant: str | None = None
) -> Description:
    """Read only the description; see `read_tensors`.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    path, variants = Path(path), variants_of(dtype, variant)
    if path.suffix == ZIP and path.is_file():
        with open_zip(path) as archive:
            return zipped_config(archive, members_of(archive, path), path)
    return _description_of(weights_of(path, variants))


def _description_of(weights: Path) -> Description:
    own = _read_metadata(weights) if weights.suffix == SAFE else {}
    config, program = weights.with_name("config.json"), weights.with_suffix(".yaml")
    if own:
        return own
    if config.is_file():
        return parse_json(config.read_bytes(), config)
    return parse_yaml(program.read_bytes(), program) if program.is_file() else {}


def _read_shards(index: Path, dtype: torch.dtype | None) -> Tensors:
    places = parse_json(index.read_bytes(), index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{index}: no 'weight_map' of tensor names to file names")
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        shard = index.with_name(name) if Path(name).name == name else index
        if shard.suffix != SAFE or not shard.is_file():
            raise CheckpointError(f"{index}: no safetensors file '{name}' beside it")
        tensors |= _read_weights(shard, dtype)
    if absent := sorted(set(places) - set(tensors)):
        raise CheckpointError(f"{index}: its files lack {', '.join(absent)}")
    return tensors


def _read_weights(path: Path, dtype: torch.dtype | None) -> Tensors:
    refuse_pointer(path)
    if path.suffix == SAFE:
        with _open_safe(path) as (file, size):
            return read_stream(file, size, dtype)
    if path.suffix in PICKLED:
        return _read_pickled(path, path, dtype)
    raise CheckpointError(
        f"{path}: unknown kind of file; valid: {VALID} (original JAX files: demask convert)"
    )


def read_header_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file.

    Raises:
        CheckpointError: it is broken.
    """
    refuse_pointer(path)
    with _open_safe(path) as (file, size):
        return read_header(file, size)[1]


def _read_metadata(path: Path) -> Description:
    metadata = read_header_metadata(path)
    return parse_json(metadata.get(METADATA_KEY, "{}"), f"{path}, metadata '{METADATA_KEY}'")


@contextmanager
def _open_safe(path: Path) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open a safetensors file: stream and size; errors become a CheckpointError of one line."""
    try:
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except (ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({first_line(error)})"
        ) from None


def _read_pickled(file: IO[bytes] | Path, source: Path | str, dtype: torch.dtype | None) -> Tensors:
    try:
        return read_pickle(file, dtype)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None


def _read_zip(
    path: Path, variants: tuple[str, ...], dtype: torch.dtype | None
) -> tuple[Tensors, Description]:
    """Read the directory inside a zip in memory; its names are never used as paths on disk."""
    with open_zip(path) as archive:
        members = members_of(archive, path)
        names = [name for name in members if not INDEX.fullmatch(name)]
        name = choose_weights(names, path, variants)
        config = zipped_config(archive, members, path)
        info = checked_member(archive, members[name], MAX_ZIP_BYTES)
        if name.endswith(PICKLED):
            content = io.BytesIO(archive.read(info))
            return _read_pickled(content, f"{path}, {name}", dtype), config
        try:
            with archive.open(info) as file:
                assert isinstance(file, zipfile.ZipExtFile)
                return read_stream(file, info.file_size, dtype), config
        except (ValueError, RuntimeError) as error:
            reason = f"not readable safetensors ({first_line(error)})"
            raise CheckpointError(f"{path}, {name}: {reason}") from None

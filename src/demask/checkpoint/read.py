"""Read checkpoint files of every layout into named tensors and a description.

No code in a file is executed, and a broken file raises a one-line error.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch
from torch import Tensor

from demask.checkpoint.pickled import first_line, load_pickle, read_pickle
from demask.checkpoint.rows import expand_rows
from demask.checkpoint.save import METADATA_KEY
from demask.checkpoint.stream import read_header, read_stream

__all__ = [
    "CheckpointError",
    "Description",
    "Tensors",
    "load_pickle",
    "parse_json",
    "read_description",
    "read_tensors",
]

Tensors = dict[str, Tensor]
Description = dict[str, Any]

SAFE = ".safetensors"
ZIP = ".zip"
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
VALID = ", ".join((SAFE, *PICKLED, ZIP))
INDEX = re.compile(r".*\.safetensors\.index(\.\w+)?\.json")
HALF = "fp16"
"""The variant of a public repository's weights that is stored in float16."""
MAX_ZIP_BYTES = 32 << 30
MAX_JSON_BYTES = 64 << 20
MAX_ZIP_RATIO = 100
"""Weights hardly compress: what unpacks to more times its size, and to more than FREE_ZIP_BYTES, is
no checkpoint."""
FREE_ZIP_BYTES = 64 << 20


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one line."""


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
        if the file has it, else the public ``config.json``, else an empty dict.

    Raises:
        CheckpointError: no such file or variant, an unknown layout, a broken file, or a pickle
            that holds more than tensors.
    """
    path, variants = Path(path), _variants(dtype, variant)
    if path.suffix == ZIP and path.is_file():
        return _read_zip(path, variants, dtype)
    weights = _weights_of(path, variants)
    read = _read_shards if INDEX.fullmatch(weights.name) else _read_weights
    return expand_rows(read(weights, dtype), dtype), _description_of(weights)


def read_description(
    path: Path | str, *, dtype: torch.dtype | None = None, variant: str | None = None
) -> Description:
    """Read only the description; see `read_tensors`.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    path, variants = Path(path), _variants(dtype, variant)
    if path.suffix == ZIP and path.is_file():
        with _open_zip(path) as archive:
            return _zipped_config(archive, _members(archive, path), path)
    return _description_of(_weights_of(path, variants))


def _description_of(weights: Path) -> Description:
    own = _read_metadata(weights) if weights.suffix == SAFE else {}
    config = weights.with_name("config.json")
    if own or not config.is_file():
        return own
    return parse_json(config.read_bytes(), config)


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


def _variants(dtype: torch.dtype | None, variant: str | None) -> tuple[str, ...]:
    """The variants of a directory's weights to look for, best first; "" is the plain one."""
    if variant is not None:
        return (variant,)
    return (HALF, "") if dtype == torch.float16 else ("", HALF)


def _weights_of(path: Path, variants: tuple[str, ...]) -> Path:
    """The weights file or index of a path: the path itself, or that of a directory."""
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        return path / _the_weights(names, path, variants)
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


def _the_weights(names: Collection[str], source: Path, variants: tuple[str, ...]) -> str:
    """The weights among file names: a conventional name, else the only index or file.

    Raises:
        CheckpointError: there is none, several, or none of the requested variant.
    """
    for name in (name for variant in variants for name in _conventional(variant)):
        if name in names:
            return name
    if len(variants) == 1 and variants[0]:
        raise CheckpointError(f"{source}: no weights of the variant '{variants[0]}'")
    indices = [name for name in names if INDEX.fullmatch(name)]
    found = [name for name in names if name.endswith((SAFE, *PICKLED))]
    if len(indices) == 1 or len(found) == 1:
        return (indices if len(indices) == 1 else found)[0]
    if found:
        raise CheckpointError(f"{source}: several weights files, name one: {', '.join(found)}")
    raise CheckpointError(f"{source}: no weights file; valid: {VALID}")


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
    if path.suffix == SAFE:
        with _open_safe(path) as (file, size):
            return read_stream(file, size, dtype)
    if path.suffix in PICKLED:
        with path.open("rb") as file:
            return _read_pickled(file, path, dtype)
    raise CheckpointError(
        f"{path}: unknown kind of file; valid: {VALID} (original JAX files: demask convert)"
    )


def _read_metadata(path: Path) -> Description:
    with _open_safe(path) as (file, size):
        metadata = read_header(file, size)[1]
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


def _read_pickled(file: IO[bytes], source: Path | str, dtype: torch.dtype | None) -> Tensors:
    try:
        tensors = read_pickle(file)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None
    if dtype is not None:
        for name in [name for name, tensor in tensors.items() if tensor.is_floating_point()]:
            tensors[name] = tensors[name].to(dtype)  # one by one, so that each original is freed
    return tensors


def _read_zip(
    path: Path, variants: tuple[str, ...], dtype: torch.dtype | None
) -> tuple[Tensors, Description]:
    """Read the directory inside a zip in memory; its names are never used as paths on disk."""
    with _open_zip(path) as archive:
        members = _members(archive, path)
        names = [name for name in members if not INDEX.fullmatch(name)]
        name = _the_weights(names, path, variants)
        config = _zipped_config(archive, members, path)
        info = _checked(archive, members[name], MAX_ZIP_BYTES)
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


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable zip file ({first_line(error)})") from None


def _members(archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
    """The files of the one folder in the archive that holds weights, by bare name."""
    folders: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
    for info in archive.infolist():
        inside = PurePosixPath(info.filename)
        if not info.is_dir() and inside.parts[0] != "__MACOSX":
            folders.setdefault(inside.parent, {})[inside.name] = info
    holding = {
        folder: files
        for folder, files in folders.items()
        if any(name.endswith((SAFE, *PICKLED)) for name in files)
    }
    if len(holding) != 1:
        found = ", ".join(sorted(map(str, holding))) or "none"
        raise CheckpointError(f"{source}: should hold one folder with a weights file; has {found}")
    return next(iter(holding.values()))


def _zipped_config(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Path
) -> Description:
    if "config.json" not in members:
        return {}
    info = _checked(archive, members["config.json"], MAX_JSON_BYTES)
    return parse_json(archive.read(info), f"{source}, config.json")


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> zipfile.ZipInfo:
    """The same member, unless it unpacks to more bytes than the limit, or than is plausible."""
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > FREE_ZIP_BYTES and ratio > MAX_ZIP_RATIO:
        raise CheckpointError(
            f"{archive.filename}, {info.filename}: unpacks to {ratio:.0f} times its size; refused"
        )
    if info.file_size > limit:
        raise CheckpointError(
            f"{archive.filename}, {info.filename}: unpacks to {info.file_size} bytes, above {limit}"
        )
    return info

"""Read checkpoint files of every layout into named tensors and a description.

Nothing in a file is ever executed, and a broken file is one clear line.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from demask.checkpoint.save import METADATA_KEY

Tensors = dict[str, Tensor]
Description = dict[str, Any]

SAFE = ".safetensors"
ZIP = ".zip"
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
VALID = ", ".join((SAFE, *PICKLED, ZIP))
INDEX = ".safetensors.index.json"
CONVENTIONAL = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
MAX_ZIP_BYTES = 32 << 30
MAX_JSON_BYTES = 64 << 20


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and why, in one line."""


def read_tensors(path: Path | str) -> tuple[Tensors, Description]:
    """Read a checkpoint: a directory, a single file, or a zip of a directory.

    Args:
        path: a directory (``config.json`` beside one weights file, or a sharded safetensors
            index), a ``.safetensors`` file, a ``.bin``, ``.ckpt``, ``.pt`` or ``.pth`` file of
            tensors, or a ``.zip`` of such a directory.

    Returns:
        The tensors by name, and the description: our own metadata (``architecture``, ``config``)
        where the file has it, else the public ``config.json``, else nothing.

    Raises:
        CheckpointError: no such file, an unknown layout, a broken file, or a pickle that holds
            more than tensors.
    """
    path = Path(path)
    if path.suffix == ZIP and path.is_file():
        return _read_zip(path)
    weights = _weights_of(path)
    if weights.name.endswith(INDEX):
        return _read_shards(weights), read_description(path)
    return _read_weights(weights), read_description(path)


def read_description(path: Path | str) -> Description:
    """The description alone, without reading the tensors; see `read_tensors`.

    Raises:
        CheckpointError: no such file, or a broken one.
    """
    path = Path(path)
    if path.suffix == ZIP and path.is_file():
        with _open_zip(path) as archive:
            return _zipped_config(archive, _members(archive, path), path)
    weights = _weights_of(path)
    own = _read_header(weights) if weights.suffix == SAFE else {}
    config = weights.with_name("config.json")
    if own or not config.is_file():
        return own
    return parse_json(config.read_bytes(), config)


def parse_json(text: str | bytes, source: Path | str) -> Description:
    """A JSON object.

    Raises:
        CheckpointError: it is something else.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{source}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{source}: should be a JSON object")
    return value


def _weights_of(path: Path) -> Path:
    """The weights file that a path means: itself, or the one in the directory."""
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        indices = [name for name in names if name.endswith(INDEX)]
        return path / (indices[0] if len(indices) == 1 else _the_weights(names, path))
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or directory")
    return path


def _the_weights(names: Iterable[str], source: Path) -> str:
    """The weights file among names: a conventional one, else the only one."""
    found = [name for name in names if name.endswith((SAFE, *PICKLED))]
    for name in CONVENTIONAL if len(found) > 1 else found:
        if name in found:
            return name
    if found:
        raise CheckpointError(f"{source}: several weights files, name one: {', '.join(found)}")
    raise CheckpointError(f"{source}: no weights file; valid: {VALID}")


def _read_shards(index: Path) -> Tensors:
    places = parse_json(index.read_bytes(), index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{index}: no 'weight_map' of tensor names to file names")
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        shard = index.with_name(name) if Path(name).name == name else index
        if shard.suffix != SAFE or not shard.is_file():
            raise CheckpointError(f"{index}: no safetensors file '{name}' beside it")
        tensors |= _read_weights(shard)
    if absent := sorted(set(places) - set(tensors)):
        raise CheckpointError(f"{index}: its files lack {', '.join(absent)}")
    return tensors


def _read_weights(path: Path) -> Tensors:
    if path.suffix == SAFE:
        with _open_safetensors(path) as file:
            # copies, tensor by tensor: they outlive the file, and their memory is aligned
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if path.suffix in PICKLED:
        with path.open("rb") as file:
            return _read_pickle(file, path)
    raise CheckpointError(
        f"{path}: unknown kind of file; valid: {VALID} (original JAX files: demask convert)"
    )


def _read_header(path: Path) -> Description:
    with _open_safetensors(path) as file:
        header = file.metadata() or {}
    return parse_json(header.get(METADATA_KEY, "{}"), f"{path}, metadata '{METADATA_KEY}'")


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None


def load_pickle(file: IO[bytes] | Path) -> Any:
    """The content of a PyTorch file; nothing in it is executed.

    Raises:
        pickle.UnpicklingError: it holds more than tensors and plain values.
        RuntimeError, EOFError, OSError, ...: it is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unusual pickles, which are then refused or read
        return torch.load(file, map_location="cpu", weights_only=True)


def _read_pickle(file: IO[bytes], source: Path | str) -> Tensors:
    try:
        content = load_pickle(file)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise CheckpointError(
                f"{source}: holds Python objects beside tensors, which could run code; refused"
            ) from None
        raise CheckpointError(f"{source}: not a readable PyTorch file") from None
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        raise CheckpointError(f"{source}: not a readable PyTorch file ({_line(error)})") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(f"{source}: does not hold a table of named tensors")
    return dict(content)


def _line(error: Exception) -> str:
    """The first line of an error's text, or its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _read_zip(path: Path) -> tuple[Tensors, Description]:
    """The directory inside a zip, read in memory: no name in it ever becomes a path on disk."""
    with _open_zip(path) as archive:
        members = _members(archive, path)
        name = _the_weights(members, path)
        config = _zipped_config(archive, members, path)
        content = _extract(archive, members[name], MAX_ZIP_BYTES)
    if name.endswith(PICKLED):
        return _read_pickle(io.BytesIO(content), f"{path}, {name}"), config
    try:
        return safetensors.torch.load(content), config
    except SafetensorError as error:
        raise CheckpointError(f"{path}, {name}: not readable safetensors ({error})") from None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable zip file ({_line(error)})") from None


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
    text = _extract(archive, members["config.json"], MAX_JSON_BYTES)
    return parse_json(text, f"{source}, config.json")


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    if info.file_size > limit:
        raise CheckpointError(
            f"{archive.filename}, {info.filename}: unpacks to {info.file_size} bytes, above {limit}"
        )
    return archive.read(info)

"""The local path of a checkpoint, downloaded from the Hugging Face hub if necessary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from demask.checkpoint.layout import PICKLED, SAFE, ZIP, CheckpointError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILE = re.compile(rf"(?P<id>{HUB_ID.pattern})/(?P<path>.+\.(safetensors|bin|ckpt|pt|pth))")
"""A file in a hub repository: "owner/name/folder/file.pth"."""
PIPELINE = "model_index.json"
"""Names the parts of a pipeline, each in a folder next to it."""
OF_A_VARIANT = ("*.*.safetensors", "*.*-*-of-*.safetensors")
"""Patterns of ``model.fp16.safetensors`` and its shards."""


def locate(name_or_path: str | Path, subfolder: str = "", revision: str | None = None) -> Path:
    """The local path of a checkpoint, downloaded from the hub if necessary.

    Raises:
        CheckpointError: neither a path nor a hub id, or the download failed.
    """
    path = Path(name_or_path)
    if path.exists():
        return path / subfolder
    if file := HUB_FILE.fullmatch(str(name_or_path)):
        return _download_file(file["id"], revision, file["path"])
    if not is_hub_id(str(name_or_path)):
        raise CheckpointError(
            f"{name_or_path}: no such file or directory, and not a hub id 'owner/name' or a file "
            "of one"
        )
    return _download(str(name_or_path), revision, subfolder) / subfolder


def in_hub(name: str) -> bool:
    """Whether a name has the form of a hub id, or of a file in a hub repository."""
    return is_hub_id(name) or bool(HUB_FILE.fullmatch(name))


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id, "owner/name", and not that of a file."""
    return bool(HUB_ID.fullmatch(name)) and Path(name).suffix not in (SAFE, ZIP, *PICKLED)


def has_pipeline(hub_id: str) -> bool:
    """Whether a hub repository holds a pipeline.

    Raises:
        CheckpointError: there is no such repository, or the hub cannot be reached.
    """
    return (_snapshot(hub_id, None, [PIPELINE]) / PIPELINE).is_file()


def locate_pipeline(
    name_or_path: str | Path, revision: str | None = None, variant: str | None = None
) -> Path:
    """The local folder of a pipeline, downloaded from the hub if necessary.

    It holds ``model_index.json`` and a folder for each part, which `load_model` takes as
    ``subfolder``. If the hub has several variants of the weights, one is downloaded.

    Args:
        name_or_path: a folder, or a hub id "owner/name".
        revision: of a hub repository.
        variant: which variant of the weights to download, such as "fp16" (default: the plain
            one).

    Raises:
        CheckpointError: neither a folder nor a hub id, no pipeline, or the download failed.
    """
    path = Path(name_or_path)
    if not path.exists() and HUB_ID.fullmatch(str(name_or_path)):
        path = _download_pipeline(str(name_or_path), revision, variant)
    if not (path / PIPELINE).is_file():
        raise CheckpointError(f"{name_or_path}: no pipeline, which is a folder with a {PIPELINE}")
    refuse_editing(path)
    return path


def refuse_editing(place: Path) -> None:
    """Raise a CheckpointError for a folder of EditMGT (arXiv 2512.11715)."""
    if (place / "editmgt").is_dir() and (place / "llm_encoder").is_dir():
        raise CheckpointError(
            f"{place} is EditMGT, which is not supported: missing are the connector of Gemma 2's "
            "text states and the tokens of the edited image"
        )


def _download_pipeline(hub_id: str, revision: str | None, variant: str | None) -> Path:
    """Download a snapshot of a pipeline, or only its descriptions if it is none."""
    folder = _snapshot(hub_id, revision, ["*.json", "*.txt"])
    refuse_editing(folder)
    if not (folder / PIPELINE).is_file():
        return folder
    anything = ["*.safetensors"]
    choices: list[tuple[Sequence[str], Sequence[str]]] = [(anything, OF_A_VARIANT), (anything, ())]
    if variant:
        choices.insert(0, ([f"*.{variant}.safetensors", f"*.{variant}-*.safetensors"], ()))
    # the wanted variant of every part, then any weights of the parts that lack it
    parts = sorted(config.parent for config in folder.glob("*/config.json"))
    for patterns, ignored in choices:
        wanted = [f"{part.name}/{pattern}" for part in parts for pattern in patterns]
        _snapshot(hub_id, revision, wanted, ignored)
        parts = [part for part in parts if not any(part.glob("*.safetensors"))]
        if not parts:
            break
    return folder


def _download_file(hub_id: str, revision: str | None, path: str) -> Path:
    """Download one weights file, and the configuration beside it if there is one."""
    folder = Path(path).parent
    beside = [Path(path).with_suffix(".yaml"), folder / "model.yaml", folder / "config.json"]
    local = _snapshot(hub_id, revision, [path, *map(str, beside)]) / path
    if not local.is_file():
        raise CheckpointError(f"{hub_id}: the repository has no file {path}")
    return local


def _download(hub_id: str, revision: str | None, subfolder: str) -> Path:
    """Download the safetensors of one folder, or its pickles if it has none."""
    prefix = f"{subfolder}/" if subfolder else ""
    for kind in ("*.safetensors", "*.bin"):
        wanted = [prefix + pattern for pattern in ("*.json", "*.txt", kind)]
        folder = _snapshot(hub_id, revision, wanted, [f"{prefix}*/*"])
        if any((folder / subfolder).glob(kind)):
            break
    return folder


def _snapshot(
    hub_id: str, revision: str | None, patterns: Sequence[str], ignored: Sequence[str] = ()
) -> Path:
    """Download files by pattern; the folder may also contain files of earlier downloads."""
    from huggingface_hub import snapshot_download  # slow to import, rarely needed

    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )
    except Exception as error:  # its network libraries raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{hub_id}: not to be had from the hub ({reason})") from None

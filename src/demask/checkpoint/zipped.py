"""The zip of a checkpoint's directory: its members, and limits on what they unpack to."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from demask.checkpoint.layout import PICKLED, SAFE, CheckpointError, Description, parse_json
from demask.checkpoint.pickled import first_line

MAX_ZIP_BYTES = 32 << 30
MAX_JSON_BYTES = 64 << 20
MAX_ZIP_RATIO = 100
"""Weights hardly compress: what unpacks to more times its size, and to more than FREE_ZIP_BYTES, is
no checkpoint."""
FREE_ZIP_BYTES = 64 << 20


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; errors become a CheckpointError of one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable zip file ({first_line(error)})") from None


def members_of(archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
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


def zipped_config(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Path
) -> Description:
    """The members' ``config.json``; empty if there is none."""
    if "config.json" not in members:
        return {}
    info = checked_member(archive, members["config.json"], MAX_JSON_BYTES)
    return parse_json(archive.read(info), f"{source}, config.json")


def checked_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> zipfile.ZipInfo:
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

"""Atomic writes: a reader finds a file or a folder complete, or does not find it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_path(path: Path) -> Path:
    """An unused hidden name in the folder of ``path``, from which a rename is atomic."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def flush_to_disk(path: Path) -> None:
    """Return when the operating system has written the file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    The content is flushed to the disk before the rename. After an error there is no new file.

    Args:
        path: the file; its folder is created where it is missing.
        write: writes the file at the path that it is given.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        write(temporary)
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def folder_written_atomically(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder`` when the block ends without an error.

    Its files are flushed to the disk before the rename. Where another process has written
    ``folder`` in the meantime, that one stays.

    Raises:
        OSError: the disk is full, or the parent folder is not writable.
    """
    work = temporary_path(folder)
    work.mkdir(parents=True)
    try:
        yield work
        for path in work.rglob("*"):
            if path.is_file():
                flush_to_disk(path)
        if not folder.exists():
            work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)

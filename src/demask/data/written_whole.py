"""Folders that appear once they are complete."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes its real name only once it is complete."""
    work = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True)
    try:
        yield work
        if not folder.exists():  # another process may have been faster
            work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)

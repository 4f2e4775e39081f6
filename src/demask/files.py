"""Atomic writes: a reader finds a file or a folder complete, or does not find it.

Whatever Demask writes goes through this module, so that a full disk is an `OSError` that names the
file, and nothing half-written is left. A process locks its temporary files while it writes them;
what a killed process has left is unlocked, and is removed at the next write into the same folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process has left stays there
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\.demask-[0-9a-f]{16}\.tmp")
IN_TEXT = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust, such as safetensors, name an error of the operating system."""


def lock(path: Path) -> int | None:
    """The descriptor of a file or folder that this process has locked; None without locks.

    The lock ends with the process, however that one ends.

    Raises:
        BlockingIOError: another process has it.
        FileNotFoundError: there is no such file.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a file system without locks
    return descriptor


def unlock(descriptor: int | None) -> None:
    """End a `lock`."""
    if descriptor is not None:
        os.close(descriptor)


def make_temporary(folder: Path, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """Make a hidden temporary file or folder in ``folder``, with its `lock`."""
    while True:
        work = folder / f".demask-{secrets.token_hex(8)}.tmp"
        make(work)
        with suppress(BlockingIOError, FileNotFoundError):  # it was just taken for a stale one
            descriptor = lock(work)
            if work.exists():
                return work, descriptor
            unlock(descriptor)


@cache  # once for each folder: a folder of many images is not listed for each of them
def remove_stale(folder: Path) -> None:
    """Remove what killed processes were writing in a folder."""
    for path in folder.glob(".demask-*.tmp"):
        with suppress(OSError):
            descriptor = lock(path) if TEMPORARY.fullmatch(path.name) else None
            if descriptor is not None:
                remove(path)
                unlock(descriptor)


def remove(path: Path) -> None:
    """Remove a temporary file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def disk_error(error: BaseException | None) -> OSError | None:
    """The error of the operating system behind what a library raised; None if there is none."""
    while error is not None and not isinstance(error, ValueError):
        if isinstance(error, OSError) and error.errno:
            return error
        if found := IN_TEXT.search(str(error)):
            return OSError(int(found[1]), os.strerror(int(found[1])))
        error = error.__context__  # torch.save raises over the error of its file
    return None


@contextmanager
def temporary(folder: Path, make: Callable[[Path], None], path: Path) -> Iterator[Path]:
    """Yield a temporary file or folder in ``folder``; at the end it is removed, if not renamed.

    Raises:
        OSError: the disk is full, or the folder is not writable; it names ``path``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder.resolve())
    work, descriptor = None, None
    try:
        work, descriptor = make_temporary(folder, make)
        yield work
    except Exception as error:
        found = disk_error(error)
        named = [name for name in (found.filename, found.filename2) if name] if found else []
        if found is None or (named and not any(TEMPORARY.search(str(name)) for name in named)):
            raise
        raise OSError(found.errno, found.strerror, str(path)) from error
    finally:
        if work is not None:
            remove(work)
        unlock(descriptor)


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
        OSError: the disk is full, or the folder is not writable; it names ``path``.
    """
    with temporary(path.parent, Path.touch, path) as work:
        write(work)
        flush_to_disk(work)
        work.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by `write_atomically`; of a path, what is no UTF-8 is escaped."""
    content = text.encode(errors="backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def copy_file(source: Path, path: Path) -> None:
    """Copy the content of a file by `write_atomically`."""
    write_atomically(path, lambda temporary: shutil.copyfile(source, temporary))


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of a folder by `copy_file`; nothing happens where there is no such folder."""
    for path in source.rglob("*"):
        if path.is_file():
            copy_file(path, folder / path.relative_to(source))


@contextmanager
def folder_written_atomically(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder`` when the block ends without an error.

    Its files are flushed to the disk before the rename. Where another process has written
    ``folder`` in the meantime, that one stays.

    Raises:
        OSError: the disk is full, or the parent folder is not writable; it names ``folder``.
    """
    with temporary(folder.parent, Path.mkdir, folder) as work:
        yield work
        flush_files(work)
        if not folder.exists():
            work.replace(folder)


@contextmanager
def files_written_together(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files are moved into ``folder`` when the block ends.

    Files of the same names are replaced. After an error ``folder`` is as it was.

    Raises:
        OSError: the disk is full, or the parent folder is not writable; it names ``folder``.
    """
    with temporary(folder, Path.mkdir, folder) as work:
        yield work
        flush_files(work)
        for path in sorted(work.rglob("*")):
            place = folder / path.relative_to(work)
            if path.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)


def flush_files(folder: Path) -> None:
    """`flush_to_disk` for each file in a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            flush_to_disk(path)

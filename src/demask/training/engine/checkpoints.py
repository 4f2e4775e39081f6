"""Training checkpoints: written atomically, the last two kept, unreadable ones skipped."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from demask.checkpoint.read import load_pickle
from demask.files import write_atomically

log = logging.getLogger(__name__)
KEPT = 2


def paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = [p for p in folder.glob("step-*.pt") if re.fullmatch(r"step-\d+\.pt", p.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after ``step`` steps, then delete all but the last two."""
    path = folder / f"step-{step:08d}.pt"

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # by itself torch doesn't say that a disk is full
            torch.save({"step": step, **state}, file)

    write_atomically(path, write)
    for old in paths(folder)[:-KEPT]:
        old.unlink()


def load_latest(folder: Path) -> dict[str, Any] | None:
    """The newest state that can be read, on the CPU; None if there is none.

    An unreadable file is skipped with a warning. No code in a file is executed.
    """
    for path in reversed(paths(folder)):
        try:
            state: dict[str, Any] = load_pickle(path)
            return state
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            log.warning("%s cannot be read (%s); trying the one before", path, reason)
    return None

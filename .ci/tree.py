"""Check the names and sizes of the tracked files: `python .ci/tree.py`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

WEIGHTS = {".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".npz", ".npy"}
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common"}
MEGABYTE = 10**6
FILE_LIMIT, TOTAL_LIMIT = 16 * MEGABYTE, 40 * MEGABYTE


def tracked() -> list[Path]:
    """The files that git knows and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout
    paths = [Path(name) for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def complaints(paths: Iterable[Path]) -> Iterator[str]:
    """One line for each thing that is wrong."""
    total = 0
    for path in paths:
        if vague := {part.split(".")[0] for part in path.parts} & VAGUE:
            yield f"{path}: '{vague.pop()}' says nothing; name the file after what it does"
        if path.suffix in WEIGHTS:
            size = path.stat().st_size
            total += size
            if size > FILE_LIMIT:
                yield f"{path}: {size / MEGABYTE:.1f} MB of weights; the limit is 16 MB a file"
    if total > TOTAL_LIMIT:
        yield f"{total / MEGABYTE:.1f} MB of weights in all; the limit is 40 MB"


def main() -> int:
    """Print what is wrong; the exit code says whether anything is."""
    lines = list(complaints(tracked()))
    print("\n".join(lines or ["Names and sizes of the tracked files are fine."]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

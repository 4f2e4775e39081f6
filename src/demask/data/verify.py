"""Try every picture once, so that training meets no surprise in the middle of the night."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from os import cpu_count

from demask.data.pictures import Pictures, Subset, UnreadablePictureError

log = logging.getLogger(__name__)

CHUNK = 1024
NAMED = 3


def verify(
    pictures: Pictures,
    strict: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Pictures:
    """The pictures that can be read; the others are counted in a warning.

    Which ones depends on the data alone, so that a resumed run sees the same pictures. Every
    picture is decoded once.

    Args:
        pictures: what to try.
        strict: an unreadable picture is an error.
        progress: is told how many pictures have been tried.

    Raises:
        ValueError: no picture can be read, or with ``strict`` one can't.
    """
    bad = find_unreadable(pictures, strict, progress)
    return Subset(pictures, [i for i in range(len(pictures)) if i not in bad]) if bad else pictures


def find_unreadable(
    pictures: Pictures,
    strict: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, str]:
    """The positions of the pictures that can't be read, and why; they are counted in a warning.

    Raises:
        ValueError: no picture can be read, or with ``strict`` one can't.
    """
    bad: dict[int, str] = {}
    with ThreadPoolExecutor(cpu_count()) as readers:
        for start in range(0, len(pictures), CHUNK):
            part = range(start, min(start + CHUNK, len(pictures)))
            problems = readers.map(try_one, repeat(pictures), part)
            bad |= {index: line for index, line in zip(part, problems, strict=True) if line}
            if strict and bad:
                raise ValueError(f"unreadable picture {next(iter(bad.values()))}")
            progress(part.stop)
    if not bad:
        return bad
    named = "; ".join(list(bad.values())[:NAMED]) + ("; ..." if len(bad) > NAMED else "")
    if len(bad) == len(pictures):
        raise ValueError(f"none of the {len(bad)} pictures can be read: {named}")
    log.warning(
        "%d of %d pictures can't be read and are skipped: %s", len(bad), len(pictures), named
    )
    return bad


def try_one(pictures: Pictures, index: int) -> str | None:
    """What is wrong with a picture, or None."""
    try:
        pictures[index]
    except UnreadablePictureError as error:
        return str(error)
    return None

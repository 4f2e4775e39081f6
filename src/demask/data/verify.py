"""Check that every image of a data set can be read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from os import cpu_count

from demask.data.images import ImageDataset, Subset, UnreadableImageError

log = logging.getLogger(__name__)

CHUNK = 1024
NAMED = 3


def verify(
    images: ImageDataset,
    strict: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> ImageDataset:
    """The readable images of a data set; a warning gives the number of the others.

    The result depends only on the data, so a resumed run uses the same images. Every image is
    decoded once, on all processor cores.

    Args:
        images: the data set.
        strict: raise an error for an unreadable image.
        progress: called with the number of images checked so far.

    Raises:
        ValueError: no image can be read, or with ``strict`` one can't.
    """
    bad = find_unreadable(images, strict, progress)
    return Subset(images, [i for i in range(len(images)) if i not in bad]) if bad else images


def find_unreadable(
    images: ImageDataset,
    strict: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, str]:
    """The indices of unreadable images and the reasons; a warning gives their number.

    Raises:
        ValueError: no image can be read, or with ``strict`` one can't.
    """
    bad: dict[int, str] = {}
    with ThreadPoolExecutor(cpu_count()) as readers:
        for start in range(0, len(images), CHUNK):
            part = range(start, min(start + CHUNK, len(images)))
            problems = readers.map(try_one, repeat(images), part)
            bad |= {index: line for index, line in zip(part, problems, strict=True) if line}
            if strict and bad:
                raise ValueError(f"unreadable image {next(iter(bad.values()))}")
            progress(part.stop)
    if not bad:
        return bad
    named = "; ".join(list(bad.values())[:NAMED]) + ("; ..." if len(bad) > NAMED else "")
    if len(bad) == len(images):
        raise ValueError(f"none of the {len(bad)} images can be read: {named}")
    log.warning("%d of %d images can't be read and are skipped: %s", len(bad), len(images), named)
    return bad


def try_one(images: ImageDataset, index: int) -> str | None:
    """The error of reading an image, or None."""
    try:
        images[index]
    except UnreadableImageError as error:
        return str(error)
    return None

"""Open any kind of image source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from demask.data.composition.composed import PREFIX as COMPOSED
from demask.data.composition.composed import open_composed
from demask.data.decoded import open_decoded
from demask.data.hub import PREFIX, open_hub
from demask.data.image_folder import ImageFolder, find_files
from demask.data.images import ImageDataset
from demask.data.parquet import ParquetImages
from demask.data.scenes import open_scenes
from demask.data.verify import verify
from demask.data.web_shards import WebShards

KINDS = (
    "a folder of images, .parquet files, .tar shards, hf:owner/name, scenes:SEED,COUNT, or "
    "emoji:FOLDER,COPIES"
)
SPLITS = frozenset({"train", "training", "test", "val", "valid", "validation", "dev"})


def open_images(
    source: str | Path,
    strict: bool = False,
    class_names: Sequence[str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
    caption_columns: Sequence[str] | None = None,
) -> ImageDataset:
    """Open an image source and check that each image can be read.

    Args:
        source: a folder whose sub-folders are classes; a ``.parquet`` or ``.tar`` file, a folder
            of them, or a pattern such as ``train-*.parquet`` or ``shard-{000..007}.tar``; a Hub
            data set, ``hf:owner/name`` for its split "train" or ``hf:owner/name:split``; generated
            scenes, ``scenes:SEED,COUNT`` (see `demask.data.scenes`); images composed of drawings,
            ``emoji:FOLDER,COPIES`` (see `open_composed`); or decoded images, ``decoded:FOLDER``
            (see `demask.data.decoded`).
        strict: raise an error for an unreadable image; by default it is skipped with a warning.
        class_names: order of the classes, so that two sources agree on their numbers; the names,
            if the source only has numbers.
        progress: called with the number of images checked so far.
        caption_columns: the caption columns, the main one first; by default the first of
            ``caption``, ``captions`` and ``text``, then ``aliases``; for image files also text
            files next to them. Empty for no captions.

    Raises:
        ValueError: no such source, no images, several splits, a missing caption column, classes
            that are not in ``class_names``, or captions that do not match the images.
    """
    if str(source).startswith(COMPOSED):
        return open_composed(str(source), strict, progress)  # checks each drawing, not each copy
    # computed and decoded images need no check
    scenes = open_scenes(str(source), class_names, caption_columns)
    if scenes is not None:
        return scenes
    decoded = open_decoded(str(source), class_names)
    if decoded is not None:
        return decoded
    opened = open_unverified(str(source), class_names, caption_columns)
    return verify(opened, strict, progress)


def open_unverified(
    source: str, class_names: Sequence[str] | None, captions: Sequence[str] | None
) -> ImageDataset:
    """The reader for files, folders and Hub data sets; see `open_images`."""
    if source.startswith(PREFIX):
        return open_hub(source, class_names, captions)
    path = Path(source).expanduser()
    if not path.exists() and re.search(r"[*?{\[]", source):
        return open_files(find_pattern(path), source, class_names, captions)
    if not path.exists():
        raise ValueError(f"no such path: {path}; valid: {KINDS}")
    if path.is_file():
        return open_files([path], source, class_names, captions)
    for suffix in (".parquet", ".tar"):
        if files := find_files(path, {suffix}):
            refuse_splits(path, (re.split(r"[^a-z]", file.name)[0] for file in files))
            return open_files(files, source, class_names, captions)
    folder = ImageFolder(path, class_names, captions)
    if set(folder.class_names) <= SPLITS:
        refuse_splits(path, folder.class_names)
    return folder


def open_files(
    files: Sequence[Path],
    source: str,
    class_names: Sequence[str] | None,
    captions: Sequence[str] | None,
) -> ImageDataset:
    """The reader for files of one suffix, ``.parquet`` or ``.tar``."""
    suffixes = {file.suffix.lower() for file in files}
    if suffixes == {".parquet"}:
        return ParquetImages(files, class_names, caption_columns=captions)
    if suffixes == {".tar"}:
        return WebShards(files, class_names, captions)
    raise ValueError(f"can't read images from {source}; valid: {KINDS}")


def refuse_splits(path: Path, names: Iterable[str]) -> None:
    """Raise a ValueError if a folder holds both training and test data."""
    splits = sorted(SPLITS & set(names))
    if len(splits) > 1:
        raise ValueError(f"{path} holds several splits ({', '.join(splits)}); name one of them")


def find_pattern(pattern: Path) -> list[Path]:
    """The files of a pattern with ``*``, ``?``, ``[...]``, ``{a,b}`` or ``{000..007}``.

    Raises:
        ValueError: an alternative of the braces matches no file.
    """
    files = []
    for text in expand_braces(str(pattern)):
        root = Path(text).anchor
        found = sorted(Path(root).glob(text.removeprefix(root)))
        if not found:
            raise ValueError(f"no such file: {text}")
        files += found
    return files


def expand_braces(text: str) -> list[str]:
    """``a{1..3}`` -> a1, a2, a3; ``{x,y}b`` -> xb, yb; leading zeros are kept."""
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    choices = match[1].split(",")
    if interval := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        first, last = interval.groups()
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    before, after = text[: match.start()], text[match.end() :]
    return [whole for choice in choices for whole in expand_braces(before + choice + after)]

"""Captions in a folder of images: a text file per image, or tables.

A table may also hold preference scores.
"""

from __future__ import annotations

import csv
import json
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path, PurePosixPath

from demask.data.caption_columns import MAIN_COLUMNS, choose_columns, join_cells
from demask.data.scores import SCORE_COLUMN, read_score

log = logging.getLogger(__name__)

TABLES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"
UNREAD = ("metadata.parquet", "metadata.json", "captions.*", "prompts.*", "*.caption")
"""Names of files that probably hold captions in an unsupported format."""


@dataclass(frozen=True)
class Annotation:
    """The captions and the preference score of an image."""

    captions: tuple[str, ...] = ()
    score: float | None = None


def read_caption_files(
    root: Path, names: Sequence[str], texts: Sequence[Path], wanted: Sequence[str] | None
) -> list[Annotation]:
    """Read the annotation of each image; either all images have captions or none.

    Annotations are rows of a ``metadata.csv`` or ``metadata.jsonl`` in the folder or in any folder
    below it (paths are relative to the table's folder), with the columns ``file_name``, those of
    `choose_columns`, and optionally ``score``. Several rows of an image are joined; the last score
    is used. Without a table the captions are the lines of ``name.txt`` or ``name.png.txt`` next to
    ``name.png``. Names are compared in Unicode's composed form (NFC). A warning names files that
    may hold captions but are not read.

    Args:
        root: the folder.
        names: the paths of the images below it.
        texts: the text files in the folder.
        wanted: the caption columns of the tables; empty for no captions.

    Raises:
        ValueError: a table or a text without its image, an image without a caption, an image with
            captions in two places, or a table that cannot be read or lacks a column.
    """
    if wanted is not None and not wanted:
        return [Annotation()] * len(names)
    tables = find_tables(root)
    if wanted and not tables:
        columns = ", ".join(map(repr, wanted))
        raise ValueError(f"{root} holds no {' or '.join(TABLES)} with the columns {columns}")
    by_name = composed_names(names)
    found: dict[str, Annotation] = {}
    for table in tables:
        rows = read_table(table, root, by_name, wanted)
        if twice := sorted(found.keys() & rows.keys()):
            raise ValueError(f"{table}: another table has captions of {twice[0]}, too")
        found |= rows
    if not tables:
        found = read_texts(root, by_name, texts)
    written = [found.get(name, Annotation()) for name in names]
    bare = [name for name, own in zip(names, written, strict=True) if not own.captions]
    if 0 < len(bare) < len(names):
        raise ValueError(f"{root}: {len(bare)} of {len(names)} images have no caption: {bare[0]}")
    if bare:
        warn_of_unread(root, texts)
    return written


def find_tables(root: Path) -> list[Path]:
    """The tables in a folder and its sub-folders, except dot folders.

    Raises:
        ValueError: a folder holds two tables.
    """
    tables = sorted(
        path
        for name in TABLES
        for path in root.rglob(name)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    for first, second in pairwise(tables):
        if first.parent == second.parent:
            raise ValueError(f"{first.parent} holds {' and '.join(TABLES)}; remove one of them")
    return tables


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); macOS writes decomposed names."""
    return unicodedata.normalize("NFC", name)


def composed_names(names: Sequence[str]) -> dict[str, str]:
    """The names of the images by their composed form.

    Raises:
        ValueError: two names differ only in their Unicode form.
    """
    by_name = {composed(name): name for name in names}
    if len(by_name) < len(names):
        lost = next(name for name in names if by_name[composed(name)] != name)
        raise ValueError(f"two images have the name {composed(lost)}, in two Unicode forms")
    return by_name


def read_texts(
    root: Path, by_name: Mapping[str, str], texts: Sequence[Path]
) -> dict[str, Annotation]:
    """The lines of each text file, by the name of its image."""
    images_of: dict[str, list[str]] = {}
    for key, name in by_name.items():
        for stem in (key, PurePosixPath(key).with_suffix("").as_posix()):
            images_of.setdefault(stem, []).append(name)
    found: dict[str, Path] = {}
    orphans = []
    for path in texts:
        stem = composed(path.relative_to(root).with_suffix("").as_posix())
        for name in images_of.get(stem, []):
            if name in found:
                raise ValueError(f"{found[name]} and {path} both hold captions of {name}")
            found[name] = path
        if stem not in images_of:
            orphans.append(path)
    if found and orphans:
        raise ValueError(f"{orphans[0]} has no image beside it")
    return {name: Annotation(join_cells([read_text(p).splitlines()])) for name, p in found.items()}


def warn_of_unread(root: Path, texts: Sequence[Path]) -> None:
    """Warn about files that may hold captions in a folder of images without captions."""
    others = [path for name in UNREAD for path in sorted(root.rglob(name)) if path.is_file()]
    if unread := [*others, *texts]:
        log.warning(
            "%s: no captions are read, though %s may hold some (%d such files); valid: %s, or a "
            "text beside each image",
            *(root, unread[0].relative_to(root), len(unread), " or ".join(TABLES)),
        )


def read_table(
    path: Path, root: Path, by_name: Mapping[str, str], wanted: Sequence[str] | None
) -> dict[str, Annotation]:
    """Annotations of a table, by the name of the image."""
    rows = read_csv(path) if path.suffix == ".csv" else read_jsonl(path)
    present = list(dict.fromkeys(key for _, row in rows for key in row))
    if FILE_COLUMN not in present:
        raise ValueError(f"{path} has no column '{FILE_COLUMN}'; it has: {', '.join(present)}")
    columns = choose_columns(str(path), present, wanted)
    if not columns:
        usual = ", ".join(map(repr, MAIN_COLUMNS))
        raise ValueError(f"{path} has no caption column ({usual}); it has: {', '.join(present)}")
    above = PurePosixPath(path.parent.relative_to(root).as_posix())
    cells, scores = dict[str, list[object]](), dict[str, object]()
    for line, row in rows:
        written = str(row.get(FILE_COLUMN) or "")
        name = by_name.get(composed((above / written.replace("\\", "/")).as_posix()))
        if name is None:
            raise ValueError(f"{path}, line {line}: there is no image '{written}'")
        for column in columns:
            cell = row.get(column)
            cells.setdefault(name, []).extend(cell if isinstance(cell, list) else [cell])
        if row.get(SCORE_COLUMN) not in (None, ""):
            scores[name] = row[SCORE_COLUMN]
    try:
        return {
            n: Annotation(join_cells(row), read_score(scores.get(n))) for n, row in cells.items()
        }
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_csv(path: Path) -> list[tuple[int, dict[str, object]]]:
    """The rows of a CSV file with a header, each with the number of its last line."""
    reader = csv.DictReader(StringIO(read_text(path)))
    rows: list[tuple[int, dict[str, object]]] = []
    for row in reader:
        if None in row:
            raise ValueError(
                f"{path}, line {reader.line_num}: more cells than columns; quote texts with commas"
            )
        rows.append((reader.line_num, dict(row)))
    return rows


def read_jsonl(path: Path) -> list[tuple[int, dict[str, object]]]:
    """The JSON objects of a file, each with the number of its line."""
    rows: list[tuple[int, dict[str, object]]] = []
    for line, text in enumerate(read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {line} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line} is no JSON object")
        rows.append((line, row))
    return rows


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        ValueError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable UTF-8 text ({error})") from error

"""Captions in a folder of images: a text file beside each, or one table for all of them.

A table may also hold preference scores.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

from demask.data.caption_columns import MAIN_COLUMNS, choose_columns, join_cells
from demask.data.scores import SCORE_COLUMN, read_score

TABLES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"


@dataclass(frozen=True)
class Annotation:
    """What is written of an image: its captions, and how much people like it."""

    captions: tuple[str, ...] = ()
    score: float | None = None


def read_caption_files(
    root: Path, names: Sequence[str], texts: Sequence[Path], wanted: Sequence[str] | None
) -> list[Annotation]:
    """What is written of each image; either all have captions or none has.

    It stands in the rows of ``metadata.csv`` or ``metadata.jsonl`` in the folder, with the columns
    ``file_name`` and those of `choose_columns`, and maybe ``score``; several rows of an image add
    up, and the last score counts. Without such a table the captions are the lines of ``name.txt``
    beside ``name.png``. Texts don't count as long as none of them belongs to an image.

    Args:
        root: the folder.
        names: the paths of the images below it.
        texts: the text files inside.
        wanted: the columns of the table that hold captions; empty for no captions.

    Raises:
        ValueError: a table or a text without its image, an image without a caption, or a table
            that can't be read or lacks a column.
    """
    if wanted is not None and not wanted:
        return [Annotation()] * len(names)
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) > 1:
        raise ValueError(f"{root} holds {' and '.join(TABLES)}; remove one of them")
    if wanted and not tables:
        columns = ", ".join(map(repr, wanted))
        raise ValueError(f"{root} holds no {' or '.join(TABLES)} with the columns {columns}")
    found = read_table(tables[0], names, wanted) if tables else read_texts(root, names, texts)
    written = [found.get(name, Annotation()) for name in names]
    bare = [name for name, own in zip(names, written, strict=True) if not own.captions]
    if 0 < len(bare) < len(names):
        raise ValueError(f"{root}: {len(bare)} of {len(names)} images have no caption: {bare[0]}")
    return written


def read_texts(root: Path, names: Sequence[str], texts: Sequence[Path]) -> dict[str, Annotation]:
    """The lines of each text file, by the name of the image that it stands beside."""
    by_stem = {path.relative_to(root).with_suffix("").as_posix(): path for path in texts}
    stem_of = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names}
    orphans = sorted(set(by_stem) - set(stem_of.values()))
    if len(orphans) == len(by_stem):
        return {}
    if orphans:
        raise ValueError(f"{by_stem[orphans[0]]} has no image beside it")
    return {
        name: Annotation(join_cells([read_text(by_stem[stem]).splitlines()]))
        for name, stem in stem_of.items()
        if stem in by_stem
    }


def read_table(
    path: Path, names: Sequence[str], wanted: Sequence[str] | None
) -> dict[str, Annotation]:
    """The captions and scores in a table, by the name of the image."""
    rows = read_csv(path) if path.suffix == ".csv" else read_jsonl(path)
    present = list(dict.fromkeys(key for _, row in rows for key in row))
    if FILE_COLUMN not in present:
        raise ValueError(f"{path} has no column '{FILE_COLUMN}'; it has: {', '.join(present)}")
    columns = choose_columns(str(path), present, wanted)
    if not columns:
        usual = ", ".join(map(repr, MAIN_COLUMNS))
        raise ValueError(f"{path} has no caption column ({usual}); it has: {', '.join(present)}")
    known, cells, scores = set(names), dict[str, list[object]](), dict[str, object]()
    for line, row in rows:
        written = str(row.get(FILE_COLUMN) or "")
        name = PurePosixPath(written).as_posix()
        if name not in known:
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
    """A text file.

    Raises:
        ValueError: it can't be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable UTF-8 text ({error})") from error

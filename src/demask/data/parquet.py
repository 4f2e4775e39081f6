"""Images in parquet files, in the layout of Hugging Face: ``image{bytes, path}``, ``label``.

Captions are texts or lists of texts in the columns of `demask.data.caption_columns`; preference
scores are numbers in a column ``score``.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demask.data.caption_columns import choose_columns, join_columns
from demask.data.classes import Label, number_labels
from demask.data.images import ImageSample, UnreadableImageError, read_image
from demask.data.scores import SCORE_COLUMN, known, read_scores
from demask.fingerprint import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMN = "label"
CACHE_BYTES = 2**30


@dataclass(frozen=True)
class RowGroup:
    """A row group, the unit in which a file is read.

    Attributes:
        path: the file.
        number: index of the row group in the file.
        first_row: index of its first row among the rows of all files.
    """

    path: Path
    number: int
    first_row: int


class ParquetImages:
    """Images in parquet files, in the order of the files and their rows.

    Row groups are read on access; the latest ones are cached in memory.

    Args:
        paths: the files.
        class_names: order of the classes; their names, if the files only have numbers.
        cache_bytes: size of the cache of encoded data.
        caption_columns: the caption columns; for the default see `choose_columns`.

    Raises:
        ValueError: no readable parquet, no image column, or unusable labels, captions or scores.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        class_names: Sequence[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
        caption_columns: Sequence[str] | None = None,
    ) -> None:
        self.paths = list(paths)
        files = [open_parquet(p) for p in self.paths]
        columns = files[0].schema_arrow.names
        for p, file in zip(self.paths, files, strict=True):
            if file.schema_arrow.names != columns:
                raise ValueError(f"{p} has other columns than {self.paths[0]}")
        self._column = image_column(str(self.paths[0]), columns)
        texts = choose_columns(str(self.paths[0]), columns, caption_columns)
        try:
            self.labels, self.class_names = number_labels(*read_labels(files), class_names)
            self.captions = read_captions(files, texts)
            scored = SCORE_COLUMN in columns
            cells = read_column(files, SCORE_COLUMN) if scored else [None] * len(self.labels)
            self.scores = read_scores(cells)
        except ValueError as error:
            raise ValueError(f"{self.paths[0]}: {error}") from error
        rows = [
            (p, n, file.metadata.row_group(n).num_rows)
            for p, file in zip(self.paths, files, strict=True)
            for n in range(file.metadata.num_row_groups)
        ]
        starts = [0, *accumulate(count for _, _, count in rows)]
        self._groups = [RowGroup(p, n, s) for (p, n, _), s in zip(rows, starts, strict=False)]
        self._starts = starts[:-1]
        self._cache = ColumnCache(self._column, cache_bytes)
        for file in files:
            file.close()

    @property
    def fingerprint(self) -> str:
        """A hash of each file's name, size and last 64 KiB, the classes, captions and scores."""
        facts = [(p.name, p.stat().st_size, read_end(p).hex()) for p in self.paths]
        captions = [self.captions] if any(self.captions) else []
        return fingerprint(*facts, *self.class_names, *captions, *known(self.scores))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> ImageSample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        group = self._groups[bisect_right(self._starts, index) - 1]
        try:
            cell = self._cache.read(group)[index - group.first_row].as_py()
        except OSError as error:
            raise UnreadableImageError(f"{group.path.name}[{index}]: {error}") from error
        data, path = (
            (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        )
        name = f"{group.path.name}[{index}]" + (f" ({path})" if path else "")
        image = read_image(data, name)
        return ImageSample(
            image, self.labels[index], name, self.captions[index], self.scores[index]
        )


class ColumnCache:
    """A cache of the image columns of recent row groups, up to a number of bytes."""

    def __init__(self, column: str, max_bytes: int) -> None:
        self._column, self._max_bytes = column, max_bytes
        self._columns: OrderedDict[RowGroup, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, group: RowGroup) -> pa.ChunkedArray:
        """The image column of a row group, cached."""
        with self._lock:
            if group not in self._columns:
                with open_parquet(group.path) as file:
                    table = file.read_row_group(group.number, columns=[self._column])
                self._columns[group] = table.column(self._column)
                self._drop_oldest()
            self._columns.move_to_end(group)
            return self._columns[group]

    def _drop_oldest(self) -> None:
        while len(self._columns) > 1 and self._bytes() > self._max_bytes:
            self._columns.popitem(last=False)

    def _bytes(self) -> int:
        return sum(column.nbytes for column in self._columns.values())


def import_pyarrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        ValueError: pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError("parquet needs pyarrow: pip install 'demask[train]'") from error
    return pa, pq


def open_parquet(path: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`.

    Raises:
        ValueError: pyarrow is missing, or the file is not a complete parquet file.
    """
    pa, pq = import_pyarrow()
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no readable parquet file ({error})") from error


def image_column(source: str, names: Sequence[str]) -> str:
    """The name of the image column; raises ValueError if there is none."""
    for name in IMAGE_COLUMNS:
        if name in names:
            return name
    wanted = " or ".join(map(repr, IMAGE_COLUMNS))
    raise ValueError(f"{source} has no column {wanted}; it has: {', '.join(names)}")


def read_labels(files: Sequence[Any]) -> tuple[list[Label], list[str] | None]:
    """The class of every row, and the names of numbered classes, if stored."""
    schema = files[0].schema_arrow
    if LABEL_COLUMN not in schema.names:
        return [None] * sum(file.metadata.num_rows for file in files), None
    return read_column(files, LABEL_COLUMN), class_label_names(schema.metadata)


def read_column(files: Sequence[Any], name: str) -> list[Any]:
    """The cells of a column, of all files."""
    return [cell for file in files for cell in file.read([name]).column(0).to_pylist()]


def read_captions(files: Sequence[Any], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The captions of every row; empty without caption columns."""
    cells = [read_column(files, name) for name in columns]
    return join_columns(cells, sum(file.metadata.num_rows for file in files))


def class_label_names(metadata: dict[bytes, bytes] | None) -> list[str] | None:
    """The class names that Hugging Face's ``datasets`` stores in the schema, if any."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return list(map(str, features[LABEL_COLUMN]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def read_end(path: Path) -> bytes:
    """The last 64 KiB of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        return file.read()

"""Drawings with transparency from parquet files: the same concepts in several styles."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demask.data.caption_columns import ALIASES_COLUMN, join_cells
from demask.data.classes import number_labels
from demask.data.image_folder import find_files
from demask.data.images import ImageSample, UnreadableImageError, read_image
from demask.data.parquet import image_column, open_parquet
from demask.fingerprint import fingerprint

NAME_COLUMN, STYLE_COLUMN, VARIANT_COLUMN = "text", "style", "has_skin_tone"


@dataclass(frozen=True)
class Drawing:
    """One drawing of a concept in one style.

    Attributes:
        data: the encoded image.
        concept: the name of what it shows.
        aliases: other names of the concept.
        style: the name of the set that it belongs to.
        variant: whether it is a person or hand with a skin tone, of which there are many.
        origin: its file and row, for messages.
    """

    data: bytes
    concept: str
    aliases: tuple[str, ...]
    style: str
    variant: bool
    origin: str

    def rgba(self) -> np.ndarray:
        """The pixels, (H, W, 4) uint8.

        Raises:
            UnreadableImageError: the data is not a readable image.
        """
        try:
            with Image.open(io.BytesIO(self.data)) as image:
                return np.array(image.convert("RGBA"))
        except Exception as error:
            read_image(self.data, self.origin)  # raises the more precise message, if it fails
            raise UnreadableImageError(f"{self.origin}: {error}") from error


class Drawings:
    """Drawings as a source of images: each unchanged, on white, with its names as captions."""

    def __init__(self, drawings: Sequence[Drawing]) -> None:
        self.drawings = list(drawings)
        _, self.class_names = number_labels([None] * len(self.drawings), None, None)

    @property
    def fingerprint(self) -> str:
        """A hash of the data and the facts of all drawings."""
        return fingerprint(*(fact for d in self.drawings for fact in (d.data, *facts(d))))

    def __len__(self) -> int:
        return len(self.drawings)

    def __getitem__(self, index: int) -> ImageSample:
        drawing = self.drawings[index]
        image = read_image(drawing.data, drawing.origin)
        return ImageSample(image, 0, drawing.origin, (drawing.concept, *drawing.aliases))


def facts(drawing: Drawing) -> tuple[object, ...]:
    """What the fingerprint contains of a drawing besides its data."""
    return drawing.concept, drawing.aliases, drawing.style, drawing.variant


def read_drawings(paths: Sequence[Path]) -> list[Drawing]:
    """The drawings of parquet files, in the order of the files and their rows.

    Each row has an image, a name in ``text``, other names in ``aliases``, the style in ``style``
    and whether it is a variant in ``has_skin_tone``. All drawings of a file without ``style`` have
    the style that its folder is named after, up to the first dash.

    Raises:
        ValueError: a file is no readable parquet file, or a column is missing or invalid.
    """
    return [drawing for path in paths for drawing in read_file(path)]


def read_file(path: Path) -> list[Drawing]:
    """The drawings of one parquet file."""
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        image = image_column(str(path), names)
        if NAME_COLUMN not in names:
            raise ValueError(f"{path} has no column '{NAME_COLUMN}'; it has: {', '.join(names)}")
        wanted = [image, NAME_COLUMN, ALIASES_COLUMN, STYLE_COLUMN, VARIANT_COLUMN]
        rows = file.read([name for name in wanted if name in names]).to_pylist()
    only = path.resolve().parent.name.split("-")[0]
    return [read_row(row, image, only, f"{path.name}[{n}]") for n, row in enumerate(rows)]


def read_row(row: dict[str, Any], image: str, only_style: str, origin: str) -> Drawing:
    """The drawing of one row."""
    cell = row[image]
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    names = join_cells([row[NAME_COLUMN], row.get(ALIASES_COLUMN)])
    if not row[NAME_COLUMN] or not names:
        raise ValueError(f"{origin}: a drawing needs a name in '{NAME_COLUMN}'")
    style = row.get(STYLE_COLUMN) or only_style
    variant = bool(row.get(VARIANT_COLUMN))
    return Drawing(data or b"", names[0], names[1:], style, variant, origin)


def find_drawings(path: Path) -> list[Path]:
    """The parquet files of a folder that hold drawings: those with a column ``text``.

    Files without a column ``style`` come first. A path of a file is that file.

    Raises:
        ValueError: there are none.
    """
    if path.is_file():
        return [path]
    found = []
    for file in find_files(path, {".parquet"}) if path.is_dir() else []:
        with open_parquet(file) as opened:
            columns = opened.schema_arrow.names
        if NAME_COLUMN in columns:
            found.append((STYLE_COLUMN in columns, file))
    if not found:
        raise ValueError(f"no parquet file with drawings (a column '{NAME_COLUMN}') in {path}")
    return [file for _, file in sorted(found)]

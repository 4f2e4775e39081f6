"""One way in for every kind of source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demask.data.parquet import ParquetPictures
from demask.data.pictures import Pictures


def open_pictures(
    source: str | Path, strict: bool = False, class_names: Sequence[str] | None = None
) -> Pictures:
    """Open a source of pictures."""
    return ParquetPictures(Path(source).expanduser(), class_names)

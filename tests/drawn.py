"""Drawings made on the spot: ten concepts in two styles, and a hundred pebbles."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

SIDE, PEBBLES = 48, 100
Draw = Callable[[ImageDraw.ImageDraw], None]


def png(draw: Draw) -> bytes:
    """A drawing on nothing; the transparent pixels are black, as encoders leave them."""
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    draw(ImageDraw.Draw(image))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def car(color: str) -> Draw:
    def draw(d: ImageDraw.ImageDraw) -> None:
        d.rectangle((2, 18, 45, 34), color)
        d.rectangle((24, 8, 45, 18), color)
        d.ellipse((6, 30, 16, 40), "#303030")
        d.ellipse((32, 30, 42, 40), "#303030")

    return draw


def disc(color: str) -> Draw:
    return lambda d: d.ellipse((3, 3, 44, 44), color)


def ring(color: str) -> Draw:
    """Of grey, with a coloured stone: in black or white most of it would be grey."""

    def draw(d: ImageDraw.ImageDraw) -> None:
        d.ellipse((3, 3, 44, 44), "#909090")
        d.ellipse((11, 11, 37, 37), color)

    return draw


ROWS: list[tuple[str, list[str], Draw, bool]] = [
    ("car", ["automobile", "motor vehicle"], car("#d83030"), False),
    ("red apple", ["apple fruit"], disc("#d02828"), False),
    ("green apple", [], disc("#40a848"), False),
    ("two balloons", ["pair of balloons"], disc("#3070d0"), False),
    ("teapot", ["pot for tea", "brew pot", "kettle"], disc("#9040c0"), False),
    ("ring", ["hoop"], ring("#30b0d0"), False),
    ("raised hand", ["stop hand"], car("#f0b040"), False),
    ("raised hand light skin tone", [], car("#f0d0b0"), True),
    ("right arrow", ["rightwards"], car("#3070d0"), False),
    ("keycap 1", [], car("#3070d0"), False),
    ("ladder", ["steps"], car("#808080"), False),
]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def row(name: str, aliases: list[str], data: bytes, variant: bool) -> dict[str, object]:
    image = {"bytes": data, "path": f"{name}.png"}
    return {"image": image, "text": name, "aliases": aliases, "has_skin_tone": variant}


def write_drawings(root: Path) -> None:
    """Two parquet files: one style that its folder names, and one that a column names."""
    plain = [row(name, aliases, png(draw), variant) for name, aliases, draw, variant in ROWS]
    plain += [row(f"pebble {n}", [], png(disc("#808080")), False) for n in range(PEBBLES)]
    write(root / "noto-emoji/train.parquet", plain)
    write(root / "emoji-styles/train.parquet", [{**entry, "style": "twemoji"} for entry in plain])

"""`demask outpaint`: paint what lies around a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from demask.cli.command import Command
from demask.cli.edited import IMAGE, open_picture, write_versions
from demask.cli.options import (
    ANY_CLASS,
    COUNT,
    FOLDER,
    MODEL,
    SETTINGS,
    add,
    load_generator,
    wishes,
)

MARGINS = [
    click.option(f"--{side}", type=int, default=0, metavar="PIXELS", help=f"To paint {where}.")
    for side, where in (
        ("left", "on its left"),
        ("right", "on its right"),
        ("top", "above it"),
        ("bottom", "below it"),
    )
]


@click.command(cls=Command)
@add(IMAGE, MARGINS, [ANY_CLASS], COUNT, FOLDER, MODEL, SETTINGS)
def outpaint(
    image: Path,
    left: int,
    right: int,
    top: int,
    bottom: int,
    classes: tuple[str, ...],
    num_images: int | None,
    seed: int,
    out: Path,
    model: str,
    tokenizer: str | None,
    device: str | None,
    dtype: str | None,
    **settings: Any,
) -> None:
    """Paint what lies around a picture."""
    if not any((left, right, top, bottom)):
        raise ValueError("name where to paint: --left, --right, --top or --bottom PIXELS")
    picture = open_picture(image)
    generator = load_generator(model, tokenizer, device, dtype)
    conditions = wishes(classes, generator)
    count = len(conditions or [None]) if num_images is None else num_images
    wish = (conditions, count, seed)

    from demask import editing

    margins = (left, right, top, bottom)
    pictures = editing.outpaint(generator, picture, *margins, *wish, **settings)
    write_versions(out, picture, pictures, count)

"""`demask outpaint`: enlarge an image by generated margins."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from demask.cli.command import Command, OptionGroup
from demask.cli.edited import IMAGE, open_image, write_versions
from demask.cli.options import COUNT, FOLDER, NEW_PART, PRESET, SETTINGS, add, with_model

MARGINS = OptionGroup(
    "Image to edit",
    [
        click.option(
            f"--{side}", type=int, default=0, metavar="PIXELS", help=f"Pixels to generate {where}."
        )
        for side, where in (
            ("left", "on the left"),
            ("right", "on the right"),
            ("top", "above"),
            ("bottom", "below"),
        )
    ],
)


@click.command(cls=Command)
@add(IMAGE, MARGINS, NEW_PART, COUNT, FOLDER)
@with_model
@add(PRESET, SETTINGS)
def outpaint(
    image: Path,
    left: int,
    right: int,
    top: int,
    bottom: int,
    **request: Any,
) -> None:
    """Enlarge an image by generated margins."""
    margins: dict[str, Any] = {"left": left, "right": right, "top": top, "bottom": bottom}
    if not any(margins.values()):
        raise ValueError("give a margin: --left, --right, --top or --bottom PIXELS")
    original = open_image(image)

    from demask import editing

    write_versions(original, partial(editing.outpaint, **margins), **request)

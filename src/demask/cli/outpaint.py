"""`demask outpaint`: generate around an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from demask.cli.command import Command, OptionGroup
from demask.cli.edited import IMAGE, open_image, write_versions
from demask.cli.options import (
    COUNT,
    FOLDER,
    NEW_PART,
    PRESET,
    SETTINGS,
    ModelChoice,
    add,
    condition_inputs,
    one_or_each,
    with_model,
)

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
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    num_images: int | None,
    seeds: tuple[int, ...],
    out: Path,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Generate around an image."""
    margins: dict[str, Any] = {"left": left, "right": right, "top": top, "bottom": bottom}
    if not any(margins.values()):
        raise ValueError("give a margin: --left, --right, --top or --bottom PIXELS")
    original = open_image(image)
    generator = choice.load(settings.get("preset"))
    conditions = condition_inputs(prompts, classes, generator)
    seed = one_or_each(seeds)
    count = len(generator.seeds(seed, len(conditions or [None]), num_images))

    from demask import editing

    request = {"conditions": conditions, "num_images": count, "seed": seed, **settings}
    edited = editing.outpaint(generator, original, **margins, **request)
    write_versions(out, original, edited, count)

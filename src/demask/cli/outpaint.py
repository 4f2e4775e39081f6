"""`demask outpaint`: generate what lies around an image."""

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
            f"--{side}", type=int, default=0, metavar="PIXELS", help=f"To generate {where}."
        )
        for side, where in (
            ("left", "on its left"),
            ("right", "on its right"),
            ("top", "above it"),
            ("bottom", "below it"),
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
    """Generate what lies around an image."""
    if not any((left, right, top, bottom)):
        raise ValueError("name where to generate: --left, --right, --top or --bottom PIXELS")
    result = open_image(image)
    generator = choice.load(settings.get("preset"))
    conditions = condition_inputs(prompts, classes, generator)
    seed = one_or_each(seeds)
    count = len(generator.seeds(seed, len(conditions or [None]), num_images))
    arguments = (conditions, count, seed)

    from demask import editing

    margins = (left, right, top, bottom)
    results = editing.outpaint(generator, result, *margins, *arguments, **settings)
    write_versions(out, result, results, count)

"""`demask inpaint`: regenerate a part of an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from PIL import Image

AREA = OptionGroup(
    "Image to edit",
    [
        click.option(
            "--mask",
            type=click.Path(path_type=Path),
            help="An image of the same size: white is regenerated.",
        ),
        click.option(
            "--box", metavar="LEFT,TOP,RIGHT,BOTTOM", help="In place of a mask: a box, in pixels."
        ),
        click.option(
            "--strength",
            type=float,
            help="In place of a mask: a random part of the tokens, 0 to 1 (image to image).",
        ),
        click.option("--feather", type=int, help="Width of the soft edge, in pixels."),
    ],
)


@click.command(cls=Command)
@add(IMAGE, AREA, NEW_PART, COUNT, FOLDER)
@with_model
@add(PRESET, SETTINGS)
def inpaint(
    image: Path,
    mask: Path | None,
    box: str | None,
    strength: float | None,
    feather: int | None,
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    num_images: int | None,
    seeds: tuple[int, ...],
    out: Path,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Regenerate a part of an image: the white of a mask, a box, or a random part."""
    if sum(choice is not None for choice in (mask, box, strength)) != 1:
        raise ValueError("name what to regenerate: one of --mask, --box and --strength")
    if strength is not None and feather is not None:
        raise ValueError("--feather is for --mask and --box: --strength leaves no edge")
    result = open_image(image)
    area = None if strength is not None else open_area(mask, box, result.size)
    generator = choice.load(settings.get("preset"))
    conditions = condition_inputs(prompts, classes, generator)
    seed = one_or_each(seeds)
    count = len(generator.seeds(seed, len(conditions or [None]), num_images))
    arguments = (conditions, count, seed)

    from demask import editing

    if strength is not None:
        results = editing.image_to_image(generator, result, strength, *arguments, **settings)
    else:
        assert area is not None
        results = editing.inpaint(generator, result, area, *arguments, feather, **settings)
    write_versions(out, result, results, count)


def open_area(mask: Path | None, box: str | None, size: tuple[int, int]) -> Image.Image:
    """What to regenerate, as an image in which it is white.

    Raises:
        ValueError: a mask that cannot be read or of another size, or a box outside the image.
    """
    if mask is None:
        return draw_box(box or "", size)
    area = open_image(mask).convert("L")
    if area.size != size:
        raise ValueError(
            f"{mask}: the mask is {area.width}x{area.height} pixels, the image {size[0]}x{size[1]}"
        )
    return area


def draw_box(text: str, size: tuple[int, int]) -> Image.Image:
    """A mask of a size that is white inside ``LEFT,TOP,RIGHT,BOTTOM``."""
    from PIL import Image

    try:
        left, top, right, bottom = (int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"--box is LEFT,TOP,RIGHT,BOTTOM in pixels, not '{text}'") from None
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise ValueError(f"the box {text} does not lie in an image of {size[0]}x{size[1]} pixels")
    area = Image.new("L", size, 0)
    area.paste(255, (left, top, right, bottom))
    return area

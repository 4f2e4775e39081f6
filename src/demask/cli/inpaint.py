"""`demask inpaint`: repaint a part of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command
from demask.cli.edited import IMAGE, open_picture, write_versions
from demask.cli.options import (
    COUNT,
    FOLDER,
    NEW_PART,
    PRESET,
    SETTINGS,
    ModelChoice,
    add,
    one_or_each,
    wishes,
    with_model,
)

if TYPE_CHECKING:
    from PIL import Image

AREA = [
    click.option(
        "--mask",
        type=click.Path(path_type=Path),
        help="A picture of the same size: white is painted anew.",
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
]


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
    """Repaint a part of a picture: the white of a mask, a box, or a random part."""
    if sum(choice is not None for choice in (mask, box, strength)) != 1:
        raise ValueError("name what to repaint: one of --mask, --box and --strength")
    if strength is not None and feather is not None:
        raise ValueError("--feather is for --mask and --box: --strength leaves no edge")
    picture = open_picture(image)
    area = None if strength is not None else open_area(mask, box, picture.size)
    generator = choice.load(settings.get("preset"))
    conditions = wishes(prompts, classes, generator)
    seed = one_or_each(seeds)
    count = len(generator.seeds(seed, len(conditions or [None]), num_images))
    wish = (conditions, count, seed)

    from demask import editing

    if strength is not None:
        pictures = editing.image_to_image(generator, picture, strength, *wish, **settings)
    else:
        assert area is not None
        pictures = editing.inpaint(generator, picture, area, *wish, feather, **settings)
    write_versions(out, picture, pictures, count)


def open_area(mask: Path | None, box: str | None, size: tuple[int, int]) -> Image.Image:
    """What to repaint, as a picture in which it is white.

    Raises:
        ValueError: a mask that cannot be read or of another size, or a box outside the picture.
    """
    if mask is None:
        return draw_box(box or "", size)
    area = open_picture(mask).convert("L")
    if area.size != size:
        raise ValueError(
            f"{mask}: the mask is {area.width}x{area.height} pixels, the picture "
            f"{size[0]}x{size[1]}"
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
        raise ValueError(f"the box {text} does not lie in a picture of {size[0]}x{size[1]} pixels")
    area = Image.new("L", size, 0)
    area.paste(255, (left, top, right, bottom))
    return area

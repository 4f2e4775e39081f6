"""`demask inpaint`: regenerate a part of an image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, OptionGroup, path_option
from demask.cli.edited import IMAGE, open_image, write_versions
from demask.cli.options import COUNT, FOLDER, NEW_PART, PRESET, SETTINGS, add, with_model

if TYPE_CHECKING:
    from PIL import Image

AREA = OptionGroup(
    "Image to edit",
    [
        path_option("--mask", help="An image of the same size; its white part is regenerated."),
        click.option(
            "--box", metavar="LEFT,TOP,RIGHT,BOTTOM", help="Instead of a mask: a box, in pixels."
        ),
        click.option(
            "--strength",
            type=float,
            help="Instead of a mask: the fraction of random tokens to regenerate, 0 to 1.",
        ),
        click.option(
            "--strength-of",
            default="tokens",
            show_default=True,
            help="What --strength is a fraction of: tokens, or steps (the last ones; aMUSEd).",
        ),
        click.option(
            "--feather", type=int, help="Width of the soft edge in pixels; default: half a token."
        ),
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
    strength_of: str,
    feather: int | None,
    **request: Any,
) -> None:
    """Regenerate a part of an image: the white part of a mask, a box, or a random part."""
    areas = {"--mask": mask, "--box": box, "--strength": strength}
    given = [name for name, area in areas.items() if area is not None]
    if len(given) != 1:
        both = f"{' and '.join(given)} exclude each other" if given else "nothing is to regenerate"
        raise ValueError(f"{both}: give one of --mask, --box and --strength")
    if strength is not None and feather is not None:
        raise ValueError("--feather belongs to --mask and --box; --strength has no edge")
    if strength is None and strength_of != "tokens":
        raise ValueError("--strength-of belongs to --strength")
    original = open_image(image)
    area = None if strength is not None else open_area(mask, box, original.size)

    from demask import editing

    if area is None:
        vary = partial(editing.variations, strength=strength or 0.0, strength_of=strength_of)
        write_versions(original, vary, **request)
    else:
        edit = partial(editing.inpaint, mask=area, feather=feather)
        write_versions(original, edit, **request)


def open_area(mask: Path | None, box: str | None, size: tuple[int, int]) -> Image.Image:
    """The part to regenerate, as a mask in which it is white.

    Raises:
        ValueError: a mask that cannot be read or has another size, or a box outside the image.
    """
    if mask is None:
        return draw_box(box or "", size)
    data = mask.read_bytes()

    from demask.data.images import read_mask_bytes

    area = read_mask_bytes(data, str(mask))
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

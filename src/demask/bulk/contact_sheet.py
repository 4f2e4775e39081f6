"""A contact sheet: many images on one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from demask.data.color import to_rgb

SMALLEST, LARGEST = 128, 320  # pixels of a tile's longer side
GAP = 4
CAPTION_SIZE = 13
PAPER, INK = (255, 255, 255), (70, 70, 70)


@dataclass(frozen=True)
class CaptionedImage:
    """An image and the text below it."""

    image: Image.Image
    caption: str = ""


def contact_sheet(tiles: Sequence[CaptionedImage], lines: int = 1) -> Image.Image:
    """Lay images out in rows, with thin gaps.

    All images are scaled by one factor, that of the largest: below 128 pixels they are enlarged by
    a whole number without interpolation, above 320 pixels they are shrunk. A smaller image is
    centred in its tile.

    Args:
        tiles: the images.
        lines: the most lines of a caption; the rest is cut off.

    Raises:
        ValueError: no images.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one image")
    largest = (max(t.image.width for t in tiles), max(t.image.height for t in tiles))
    width, height = scaled_size(largest)
    font = ImageFont.load_default(CAPTION_SIZE)
    strip = (CAPTION_SIZE + 3) * lines + 3 if any(tile.caption for tile in tiles) else 0
    columns = best_columns(len(tiles))
    rows = math.ceil(len(tiles) / columns)
    size = columns * (width + GAP) + GAP, rows * (height + strip + GAP) + GAP
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + strip + GAP)
        own = (
            max(1, tile.image.width * width // largest[0]),
            max(1, tile.image.height * height // largest[1]),
        )
        corner = left + (width - own[0]) // 2, top + (height - own[1]) // 2
        sheet.paste(scaled(to_rgb(tile.image), own), corner)
        for line, text in enumerate(wrap(tile.caption, font, width, lines)):
            place = left + width / 2, top + height + 2 + line * (CAPTION_SIZE + 3)
            draw.text(place, text, INK, font, anchor="ma")
    return sheet


def scaled_size(size: tuple[int, int]) -> tuple[int, int]:
    """The width and height of a tile, in pixels, for images of this width and height."""
    longer = max(size)
    factor: float = math.ceil(SMALLEST / longer)
    if longer > LARGEST:
        factor = LARGEST / longer
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at another size: nearest neighbour to enlarge it, Lanczos to shrink it."""
    grows = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def best_columns(count: int) -> int:
    """The number of columns that leaves the fewest empty tiles; of these, the most square."""
    square = math.ceil(math.sqrt(count))
    return min(range(square, max(2 * square, 2)), key=lambda columns: (-count % columns, columns))


def wrap(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int
) -> list[str]:
    """The text in at most ``lines`` lines of at most ``width`` pixels; the last one is cut off."""
    found, words = [""], text.split(" ")
    while words and len(found) < lines:
        longer = f"{found[-1]} {words[0]}".strip()
        if found[-1] and font.getlength(longer) > width:
            found.append("")
        else:
            found[-1] = longer
            words.pop(0)
    rest = " ".join([found.pop(), *words]).strip()
    return [shorten(line, font, width) for line in [*found, rest]]


def shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut so that it is at most ``width`` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip(" ,") + "..."

"""Drawings that no model was trained on: twelve of a one-eyed "zorp", and twelve plain things.

They consist of flat shapes on white, as a person would draw them in a drawing program.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

COUNT = 12
SIDE, FINER = 128, 4
"""Pixels of a side, and how many times finer it is drawn, for smooth edges."""
INK, WHITE = (40, 36, 52), (255, 255, 255)
ZORP = (128, 84, 200)


Rgb = tuple[int, int, int]


def canvas(draw: Callable[[Scaled], None], degrees: float = 0.0) -> Image.Image:
    """The image that ``draw`` makes in a square of 100 units, turned by some degrees."""
    side = SIDE * FINER
    image = Image.new("RGB", (side, side), WHITE)
    draw(Scaled(image, side / 100))
    turned = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=WHITE)
    return turned.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


class Scaled(ImageDraw.ImageDraw):
    """Draws in units of a hundredth of the side."""

    def __init__(self, image: Image.Image, unit: float) -> None:
        super().__init__(image)
        self.unit = unit

    def oval(self, x: float, y: float, wide: float, high: float, color: Rgb) -> None:
        """An ellipse around (x, y)."""
        box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        self.ellipse([value * self.unit for value in box], color)

    def corners(self, color: Rgb, *points: float) -> None:
        """A polygon: x and y of each corner."""
        self.polygon([value * self.unit for value in points], color)

    def stroke(self, color: Rgb, width: float, *points: float) -> None:
        """A line with round ends."""
        self.line([value * self.unit for value in points], color, round(width * self.unit), "curve")
        for x, y in (points[:2], points[-2:]):
            self.oval(x, y, width, width, color)


def zorp(number: int, color: Rgb = ZORP) -> Image.Image:
    """Drawing ``number`` of a zorp; its eye, its angle and its arms vary."""
    chance = random.Random(number)
    look_x, look_y = chance.uniform(-4, 4), chance.uniform(-3, 3)
    left, right = chance.choice((-16, 4, 16)), chance.choice((-16, 4, 16))
    size = chance.uniform(0.88, 1.0)

    def draw(d: Scaled) -> None:
        d.unit *= size
        d.stroke(INK, 3, 50, 26, 50, 10)
        d.oval(50, 9, 9, 9, (250, 190, 40))
        for x, arm in ((26, left), (74, right)):
            d.stroke(color, 8, x, 56, x + (x - 50) * 0.55, 56 + arm)
        for x in (38, 62):
            d.stroke(INK, 7, x, 80, x, 93)
        d.oval(50, 54, 56, 62, color)
        d.oval(50, 46, 30, 30, WHITE)
        d.oval(50 + look_x, 46 + look_y, 13, 13, INK)
        d.stroke(INK, 3, 40, 70, 50, 74, 60, 70)

    return canvas(draw, chance.uniform(-8, 8))


def zorps() -> list[Image.Image]:
    """The twelve drawings of a zorp."""
    return [zorp(number) for number in range(COUNT)]


def write_zorps(folder: Path) -> None:
    """Write the drawings with a caption file each, the data of a LoRA training."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(zorps()):
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a zorp\nzorp\n")


RED, BLUE, GREEN = (214, 58, 50), (58, 110, 210), (60, 160, 80)
YELLOW, BROWN, GREY = (250, 200, 60), (140, 92, 56), (150, 154, 160)


def house(d: Scaled) -> None:
    """A house with a door and a window."""
    d.corners(YELLOW, 20, 45, 80, 45, 80, 90, 20, 90)
    d.corners(RED, 12, 48, 50, 14, 88, 48)
    d.corners(BROWN, 42, 62, 58, 62, 58, 90, 42, 90)
    d.corners(BLUE, 63, 55, 74, 55, 74, 66, 63, 66)


def tree(d: Scaled) -> None:
    """A round tree."""
    d.corners(BROWN, 44, 60, 56, 60, 56, 94, 44, 94)
    d.oval(50, 38, 60, 58, GREEN)


def boat(d: Scaled) -> None:
    """A boat with a sail."""
    d.corners(BROWN, 12, 68, 88, 68, 72, 86, 28, 86)
    d.stroke(INK, 3, 48, 68, 48, 12)
    d.corners(RED, 52, 16, 52, 62, 84, 62)


def flower(d: Scaled) -> None:
    """A flower on a stem."""
    d.stroke(GREEN, 5, 50, 48, 50, 94)
    for x, y in ((50, 18), (70, 32), (62, 54), (38, 54), (30, 32)):
        d.oval(x, y, 26, 26, (236, 110, 170))
    d.oval(50, 37, 22, 22, YELLOW)


def cup(d: Scaled) -> None:
    """A cup with a handle."""
    d.oval(74, 52, 30, 32, BLUE)
    d.oval(74, 52, 16, 18, WHITE)
    d.corners(BLUE, 18, 28, 72, 28, 66, 84, 24, 84)


def fish(d: Scaled) -> None:
    """A fish that swims to the left."""
    d.corners((240, 140, 40), 66, 50, 94, 26, 94, 74)
    d.oval(42, 50, 66, 44, (240, 140, 40))
    d.oval(24, 44, 9, 9, WHITE)
    d.oval(23, 44, 5, 5, INK)


def key(d: Scaled) -> None:
    """A horizontal key."""
    d.oval(24, 50, 34, 34, YELLOW)
    d.oval(20, 50, 14, 14, WHITE)
    d.corners(
        YELLOW, 38, 46, 92, 46, 92, 66, 84, 66, 84, 54, 76, 54, 76, 62, 68, 62, 68, 54, 38, 54
    )


def ladder(d: Scaled) -> None:
    """A ladder."""
    for x in (32, 68):
        d.stroke(BROWN, 6, x, 8, x, 92)
    for y in range(18, 90, 14):
        d.stroke(BROWN, 5, 32, y, 68, y)


def kite(d: Scaled) -> None:
    """A kite with a tail."""
    d.corners(RED, 50, 6, 76, 34, 50, 34)
    d.corners(BLUE, 50, 6, 50, 34, 24, 34)
    d.corners(YELLOW, 24, 34, 50, 34, 50, 70)
    d.corners(GREEN, 50, 34, 76, 34, 50, 70)
    d.stroke(INK, 2, 50, 70, 58, 78, 50, 86, 58, 95)


def face(d: Scaled) -> None:
    """A face of lines."""
    d.oval(50, 50, 84, 84, INK)
    d.oval(50, 50, 77, 77, WHITE)
    for x in (36, 64):
        d.oval(x, 40, 9, 9, INK)
    d.stroke(INK, 4, 32, 62, 42, 70, 58, 70, 68, 62)


def truck(d: Scaled) -> None:
    """A truck that drives to the right."""
    d.corners(GREY, 8, 30, 60, 30, 60, 72, 8, 72)
    d.corners(GREEN, 62, 42, 80, 42, 92, 58, 92, 72, 62, 72)
    for x in (26, 76):
        d.oval(x, 74, 20, 20, INK)


def person(d: Scaled) -> None:
    """A person of lines, with open arms."""
    d.oval(50, 20, 24, 24, (240, 190, 140))
    d.stroke(BLUE, 8, 50, 34, 50, 62)
    d.stroke(BLUE, 6, 22, 34, 50, 44, 78, 34)
    d.stroke(INK, 7, 34, 92, 50, 62, 66, 92)


THINGS = (house, tree, boat, flower, cup, fish, key, ladder, kite, face, truck, person)


def plain_drawings() -> dict[str, Image.Image]:
    """Twelve plain drawings by name."""
    return {thing.__name__: canvas(thing) for thing in THINGS}


if __name__ == "__main__":
    import sys

    from demask.bulk.contact_sheet import CaptionedImage, contact_sheet

    tiles = [CaptionedImage(image, f"zorp {n}") for n, image in enumerate(zorps())]
    tiles += [CaptionedImage(image, name) for name, image in plain_drawings().items()]
    contact_sheet(tiles).save(sys.argv[1])

"""A drawing moved, turned and set on a background.

Shape legend: H W rows and columns of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demask.data.composition.colors import Rgb

WHITE: Rgb = (255, 255, 255)


@dataclass(frozen=True)
class Placement:
    """Position, size and angle of a drawing in its image.

    Attributes:
        mirrored: whether it is flipped horizontally, before anything else.
        degrees: angle by which it is turned counterclockwise.
        scale: its size as a fraction of the original one.
        right: offset to the right of the image's centre, as a fraction of its width.
        down: offset below the image's centre, as a fraction of its height.
    """

    mirrored: bool = False
    degrees: float = 0.0
    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def coefficients(self, width: int, height: int) -> tuple[float, ...]:
        """The six coefficients of Pillow's affine transform, from the result to the drawing.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
        """
        turn = math.radians(self.degrees)
        cos, sin = math.cos(turn) / self.scale, math.sin(turn) / self.scale
        centre_x, centre_y = width * (0.5 + self.right), height * (0.5 + self.down)
        a, b = cos, -sin
        d, e = sin, cos
        c = width / 2 - a * centre_x - b * centre_y
        f = height / 2 - d * centre_x - e * centre_y
        if self.mirrored:
            a, b, c = -a, -b, width - c
        return a, b, c, d, e, f


PLAIN = Placement()
"""The unchanged placement."""


def fitting_scale(alpha_HW: np.ndarray, degrees: float) -> float:
    """The largest scale, at most 1, at which a turned drawing stays inside of the image.

    Args:
        alpha_HW: the drawing's opacity, uint8.
        degrees: the angle.
    """
    height, width = alpha_HW.shape
    rows, columns = np.nonzero(alpha_HW > 24)
    if not len(rows):
        return 1.0
    y, x = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
    turn = math.radians(degrees)
    across = np.abs(x * math.cos(turn) + y * math.sin(turn)).max()
    down = np.abs(y * math.cos(turn) - x * math.sin(turn)).max()
    return float(min(1.0, 0.495 / max(across, down)))


def render(rgba_HW4: np.ndarray, placement: Placement, background: Rgb = WHITE) -> Image.Image:
    """An RGB image of the drawing's own size, from its pixels (H, W, 4) uint8.

    Pillow resamples with the colours weighted by opacity, so the colour of transparent pixels does
    not bleed into the edges.
    """
    layer = Image.fromarray(rgba_HW4)
    if placement != PLAIN:
        matrix = placement.coefficients(*layer.size)
        layer = layer.transform(
            layer.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
    ground = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(ground, layer).convert("RGB")

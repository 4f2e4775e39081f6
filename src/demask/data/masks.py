"""Read edit masks of all usual conventions; Python, command line, server and page use it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from demask.data.color import to_8_bits

OPAQUE = WHITE = 128
"""The least opacity, or grey value, of a pixel that counts as opaque, or as white."""
UNIFORM = 16
"""Values that differ by at most this much count as one colour, since JPEG changes them."""


def read_mask(image: Image.Image, name: str = "mask", *, prefer_hole: bool = False) -> Image.Image:
    """The part of an image to regenerate: mode ``L``, 255 there and 0 elsewhere.

    Without transparency, white is regenerated. With transparency there are two conventions. If all
    opaque pixels are white, they are regenerated (white strokes on a layer of a drawing program).
    If they form an image in colours or greys, its transparent hole is regenerated (OpenAI's images
    API).

    Args:
        image: a mask of any mode, upright.
        name: the name of the mask in messages.
        prefer_hole: whether a layer of one other colour, such as black with a transparent part, is
            read by OpenAI's convention. By default it is refused, as it may be strokes in black.

    Raises:
        ValueError: the mask can be read in both ways.
    """
    if not image.has_transparency_data:
        grey = np.asarray(to_8_bits(image).convert("L"))
        return as_mask(grey >= WHITE)
    layer = np.asarray(image.convert("RGBA"))
    opaque = layer[..., 3] >= OPAQUE
    if opaque.all():
        return as_mask(np.asarray(image.convert("RGB").convert("L")) >= WHITE)
    colors = layer[..., :3][opaque]
    if len(colors) and colors.min() >= 255 - UNIFORM:
        return as_mask(opaque)
    if len(colors) and (prefer_hole or is_image(colors)):
        return as_mask(~opaque)
    raise ValueError(
        f"{name}: it can be read in two ways; valid: white on black, white strokes on a "
        "transparent layer, or the image with a transparent hole"
    )


def is_image(colors_N3: np.ndarray) -> bool:
    """Whether pixels are those of an image: not of one colour, and not only black and white."""
    spread = int(np.ptp(colors_N3.astype(np.int16), axis=0).max())
    middle = (colors_N3 > UNIFORM) & (colors_N3 < 255 - UNIFORM)
    return spread > UNIFORM and bool(middle.any(axis=1).mean() > 0.05)


def as_mask(white_YX: np.ndarray) -> Image.Image:
    """An image of mode ``L``: 255 where true, else 0."""
    return Image.fromarray(white_YX.astype(np.uint8) * 255)

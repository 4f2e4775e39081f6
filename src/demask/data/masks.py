"""Edit masks as people have them -> black and white; every door reads them here."""

from __future__ import annotations

import numpy as np
from PIL import Image

from demask.data.color import to_8_bits

OPAQUE = WHITE = 128
"""From this value on a pixel counts as opaque, or as white."""
UNIFORM = 16
"""Values that differ by at most this much are one colour, as after JPEG."""


def read_mask(image: Image.Image, name: str = "mask", *, prefer_hole: bool = False) -> Image.Image:
    """The part of an image that is to be regenerated: mode ``L``, 255 there and 0 elsewhere.

    Without transparency, white is regenerated. With transparency there are two conventions, and
    what is opaque says which: only white, and the white strokes are regenerated (a layer of a
    drawing program); an image in colours or greys, and its transparent hole is (OpenAI's images
    API).

    Args:
        image: of any mode, upright.
        name: what messages call it.
        prefer_hole: read a layer of one other colour, such as black with a transparent part, as one
            with a hole: where OpenAI's convention is the documented one. It is refused otherwise,
            as it may be strokes in black.

    Raises:
        ValueError: a mask that could be read both ways.
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
    """Whether pixels are those of an image: not one colour, and not just black and white."""
    spread = int(np.ptp(colors_N3.astype(np.int16), axis=0).max())
    middle = (colors_N3 > UNIFORM) & (colors_N3 < 255 - UNIFORM)
    return spread > UNIFORM and bool(middle.any(axis=1).mean() > 0.05)


def as_mask(white_YX: np.ndarray) -> Image.Image:
    """Mode ``L``: 255 where true."""
    return Image.fromarray(white_YX.astype(np.uint8) * 255)

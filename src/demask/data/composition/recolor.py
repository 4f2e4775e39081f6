"""Replace the main colour of a drawing, and keep its shading, its highlights and its other colours.

Shape legend: H W rows and columns of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demask.data.composition.colors import PALETTE, dominant_color

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
COLORED = 0.07
"""A pixel counts as coloured if its chroma is above this."""
NEAR, FAR = math.radians(42), math.radians(64)
"""Hues up to NEAR from the main one are replaced, from FAR on kept, and blended in between."""
KEPT_VARIATION = 0.35
"""The factor on differences of hue within the main colour."""
LEAST_OF_DRAWING, LEAST_OF_COLORED = 0.36, 0.7


@dataclass(frozen=True)
class MainColor:
    """The most frequent colour of the coloured pixels of a drawing.

    Attributes:
        angle: the angle of the colour difference signals (Cb, Cr), in radians.
        chroma: the 70th percentile of their length.
        luma: the median of the luma, in [0, 1].
        of_drawing: the fraction of the drawing's opacity that has this colour.
        of_colored: the fraction of the coloured pixels' opacity that has it.
    """

    angle: float
    chroma: float
    luma: float
    of_drawing: float
    of_colored: float

    @property
    def dominates(self) -> bool:
        """Whether the whole drawing can be called by this colour."""
        return self.of_drawing >= LEAST_OF_DRAWING and self.of_colored >= LEAST_OF_COLORED


def split(rgb_HW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luma in [0, 1], and the length and the angle of (Cb, Cr), each (H, W), by ITU-R BT.601."""
    rgb = rgb_HW3.astype(np.float32) / 255
    luma = rgb @ LUMA
    blue, red = (rgb[..., 2] - luma) * 0.564, (rgb[..., 0] - luma) * 0.713
    return luma, np.hypot(blue, red), np.arctan2(red, blue)


def between(angle: np.ndarray, other: float) -> np.ndarray:
    """The signed difference of angles, in [-pi, pi)."""
    return (angle - other + math.pi) % (2 * math.pi) - math.pi


def main_color(rgba_HW4: np.ndarray) -> MainColor | None:
    """The main colour of a drawing (H, W, 4) uint8; None if it has no coloured pixels."""
    luma, chroma, angle = split(rgba_HW4[..., :3])
    alpha = rgba_HW4[..., 3].astype(np.float32) / 255
    colored = (chroma > COLORED) & (alpha > 0.5)
    if not colored.any():
        return None
    strength = (alpha * chroma)[colored]
    bins = ((angle[colored] + math.pi) / (2 * math.pi) * 48).astype(int) % 48
    counts = np.bincount(bins, strength, 48)
    smooth = sum(np.roll(counts, shift) for shift in range(-3, 4))
    peak = (float(np.argmax(smooth)) + 0.5) / 48 * 2 * math.pi - math.pi
    offset = between(angle[colored], peak)
    inside = np.abs(offset) < NEAR
    centre = peak + float(np.average(offset[inside], weights=strength[inside]))
    member = colored & (np.abs(between(angle, centre)) < NEAR)
    if not member.any():
        return None
    covered = float(alpha[member].sum())
    return MainColor(
        centre,
        float(np.percentile(chroma[member], 70)),
        float(np.median(luma[member])),
        covered / float(alpha.sum()),
        covered / float(alpha[colored].sum()),
    )


def recolor(rgba_HW4: np.ndarray, main: MainColor, color: str) -> np.ndarray:
    """A drawing whose main colour is replaced.

    The colour difference signals are turned and scaled, so white highlights stay white. The luma
    is mapped piecewise linearly: the main colour's becomes the new colour's, 0 and 1 stay.

    Args:
        rgba_HW4: the drawing, (H, W, 4) uint8.
        main: its main colour.
        color: a name of `PALETTE`.

    Returns:
        (H, W, 4) uint8, the same opacity.
    """
    luma, chroma, angle = split(rgba_HW4[..., :3])
    (target_luma,), (target_chroma,), (target_angle,) = split(np.array([PALETTE[color]]))
    offset = between(angle, main.angle)
    share = np.clip((FAR - np.abs(offset)) / (FAR - NEAR), 0, 1)
    share *= np.clip((chroma / main.chroma - 0.08) / 0.22, 0, 1)
    turned = target_angle + KEPT_VARIATION * offset
    scaled = chroma * (target_chroma / main.chroma)
    shade = np.interp(luma, (0, main.luma, 1), (0, target_luma, 1))
    blue, red = scaled * np.cos(turned) / 0.564, scaled * np.sin(turned) / 0.713
    new = np.stack([shade + red, shade, shade + blue], -1)
    new[..., 1] = (shade - LUMA[0] * new[..., 0] - LUMA[2] * new[..., 2]) / LUMA[1]
    mixed = share[..., None] * np.clip(new, 0, 1) * 255
    mixed += (1 - share[..., None]) * rgba_HW4[..., :3]
    return np.concatenate([mixed.round().astype(np.uint8), rgba_HW4[..., 3:]], -1)


def color_of(rgba_HW4: np.ndarray) -> str:
    """`dominant_color` of a drawing (H, W, 4)."""
    return dominant_color(rgba_HW4[..., :3], rgba_HW4[..., 3].astype(np.float64))


def possible_colors(rgba_HW4: np.ndarray) -> tuple[str | None, tuple[str, ...]]:
    """The name of a drawing's (H, W, 4) colour, and the colours that it can be recoloured with.

    A colour is possible if `color_of` gives its name to the recoloured drawing, so that a caption
    never names a colour that the image does not show.

    Returns:
        The colour and the possible colours; None and () if no colour dominates.
    """
    small = np.ascontiguousarray(rgba_HW4[::2, ::2])
    main = main_color(small)
    if main is None or not main.dominates:
        return None, ()
    own = color_of(small)
    return own, tuple(c for c in PALETTE if c != own and color_of(recolor(small, main, c)) == c)

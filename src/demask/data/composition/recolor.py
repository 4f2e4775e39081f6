"""Give a drawing another colour, and keep its shading, its highlights and its other colours.

Shape legend: H W rows and columns of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demask.data.composition.colors import PALETTE, dominant_color

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
COLORED = 0.07
"""A pixel with less chroma has no colour of its own."""
NEAR, FAR = math.radians(42), math.radians(64)
"""Hues up to NEAR from the main one are replaced, from FAR on kept; between them it is gradual."""
KEPT_VARIATION = 0.35
"""How much of the differences of hue within the main colour is kept."""
LEAST_OF_DRAWING, LEAST_OF_COLORED = 0.36, 0.7


@dataclass(frozen=True)
class MainColor:
    """The colour that most of the coloured part of a drawing has.

    Attributes:
        angle: of the colour difference signals (Cb, Cr), in radians.
        chroma: their length, the 70th percentile.
        luma: the median.
        of_drawing: the share of the opaque pixels that have this colour.
        of_colored: the share of the coloured pixels that have it.
    """

    angle: float
    chroma: float
    luma: float
    of_drawing: float
    of_colored: float

    @property
    def dominates(self) -> bool:
        """Whether a person would call the whole drawing by this colour."""
        return self.of_drawing >= LEAST_OF_DRAWING and self.of_colored >= LEAST_OF_COLORED


def split(rgb_HW3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luma, and the length and the angle of (Cb, Cr), each (H, W), as in ITU-R BT.601."""
    rgb = rgb_HW3.astype(np.float32) / 255
    luma = rgb @ LUMA
    blue, red = (rgb[..., 2] - luma) * 0.564, (rgb[..., 0] - luma) * 0.713
    return luma, np.hypot(blue, red), np.arctan2(red, blue)


def between(angle: np.ndarray, other: float) -> np.ndarray:
    """The signed difference of angles, in [-pi, pi)."""
    return (angle - other + math.pi) % (2 * math.pi) - math.pi


def main_color(rgba_HW4: np.ndarray) -> MainColor | None:
    """The main colour of a drawing (H, W, 4) uint8; None where it has none."""
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

    The colour difference signals are turned and scaled, which leaves a highlight as white as it
    was; the luma is mapped so that the main one becomes that of the new colour, and black and white
    stay.

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
    """The name of the colour that most of a drawing (H, W, 4) has."""
    return dominant_color(rgba_HW4[..., :3], rgba_HW4[..., 3].astype(np.float64))


def possible_colors(rgba_HW4: np.ndarray) -> tuple[str | None, tuple[str, ...]]:
    """What a drawing (H, W, 4) is called by colour, and what it can be recoloured with.

    A colour is possible if the recoloured pixels are called by its name, so that a caption never
    says what nobody sees.

    Returns:
        None and nothing where no colour dominates.
    """
    small = np.ascontiguousarray(rgba_HW4[::2, ::2])
    main = main_color(small)
    if main is None or not main.dominates:
        return None, ()
    own = color_of(small)
    return own, tuple(c for c in PALETTE if c != own and color_of(recolor(small, main, c)) == c)

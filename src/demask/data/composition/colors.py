"""Names of colours: a palette with a colour of each name, and the names of a drawing's pixels.

Shape legend: H W rows and columns of pixels; N pixels in any arrangement.
"""

from __future__ import annotations

import re

import numpy as np

Rgb = tuple[int, int, int]

PALETTE: dict[str, Rgb] = {
    "red": (222, 44, 50),
    "orange": (246, 138, 28),
    "yellow": (253, 212, 56),
    "green": (68, 172, 72),
    "blue": (52, 128, 222),
    "purple": (146, 78, 196),
    "pink": (246, 124, 180),
    "brown": (134, 82, 48),
    "black": (42, 42, 46),
    "white": (244, 244, 246),
}
"""The colours that drawings are recoloured with."""

BACKGROUNDS: dict[str, tuple[Rgb, ...]] = {
    "red": ((222, 44, 50), (180, 32, 40), (236, 84, 84)),
    "orange": ((246, 138, 28), (250, 164, 80), (228, 120, 20)),
    "yellow": ((253, 220, 80), (255, 234, 130), (244, 200, 40)),
    "green": ((96, 184, 96), (150, 212, 148), (44, 132, 64)),
    "blue": ((84, 156, 232), (158, 204, 246), (36, 84, 168)),
    "purple": ((156, 96, 204), (190, 150, 226), (108, 56, 152)),
    "pink": ((246, 138, 188), (250, 182, 214), (236, 100, 160)),
    "brown": ((134, 86, 54), (162, 112, 76), (104, 64, 38)),
    "black": ((26, 26, 30), (40, 40, 44), (12, 12, 14)),
    "grey": ((150, 152, 156), (184, 186, 190), (116, 118, 122)),
}
"""The backgrounds: three shades of each colour."""

NAMES = (*PALETTE, "grey")
SHARE_OF_NEUTRAL = 0.7

COLOR_WORD = re.compile(
    r"\b(?:(?:light|dark) )?"
    r"(?:red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ea]y)\b"
)


def name_colors(rgb_N3: np.ndarray) -> np.ndarray:
    """The name of each pixel's colour, as its index in `NAMES`.

    The limits of hue, saturation and value were chosen on the drawings of five emoji sets.

    Args:
        rgb_N3: pixels, (..., 3), uint8 or numbers from 0 to 255.

    Returns:
        Indices, (...), int64.
    """
    rgb = np.asarray(rgb_N3, np.float32) / 255
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    saturation = chroma / np.maximum(high, 1e-6)
    hue = hues(rgb, high, chroma)
    named = np.select(
        [hue < 14, hue < 41, hue < 70, hue < 168, hue < 258, hue < 306, hue < 344],
        [NAMES.index(n) for n in ("red", "orange", "yellow", "green", "blue", "purple", "pink")],
        NAMES.index("red"),
    )
    reddish = (hue < 16) | (hue >= 336)
    named = np.where(reddish & (saturation < 0.56) & (high > 0.8), NAMES.index("pink"), named)
    named = np.where((hue >= 306) & (hue < 344) & (high < 0.45), NAMES.index("purple"), named)
    named = np.where((hue >= 52) & (hue < 70) & (high < 0.62), NAMES.index("green"), named)
    earthy = (hue >= 8) & np.where(hue < 40, high < 0.8, (hue < 50) & (high < 0.62))
    named = np.where(earthy, NAMES.index("brown"), named)
    neutral = np.select(
        [high < 0.3, high > 0.86], [NAMES.index("black"), NAMES.index("white")], NAMES.index("grey")
    )
    dull = (chroma < 0.1) | (saturation < 0.16) | (high < 0.16)
    return np.where(dull, neutral, named)


def hues(rgb: np.ndarray, high: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Hue in degrees, [0, 360), of colours in [0, 1]; 0 for greys, which have none."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.maximum(chroma, 1e-6)
    sector = np.where(
        high == red,
        (green - blue) / safe,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return np.where(chroma > 0, sector * 60 % 360, 0)


def dominant_color(rgb_N3: np.ndarray, weight_N: np.ndarray) -> str:
    """The name of the colour with the largest area of a drawing.

    Black, white and grey are counted only if they cover at least 70 % of it: a red car with black
    outlines and wheels is red.

    Args:
        rgb_N3: pixels, (..., 3), 0 to 255.
        weight_N: the weight of each pixel, (...): the drawing's opacity.
    """
    area = np.bincount(name_colors(rgb_N3).ravel(), weight_N.ravel(), len(NAMES))
    neutral = [NAMES.index(name) for name in ("black", "white", "grey")]
    if area[neutral].sum() < SHARE_OF_NEUTRAL * area.sum():
        area[neutral] = 0
    return NAMES[int(area.argmax())]


def color_words(name: str) -> list[str]:
    """The colour words of a name, without "light" and "dark"; "gray" becomes "grey"."""
    found = (match.split()[-1] for match in COLOR_WORD.findall(name))
    return ["grey" if word == "gray" else word for word in found]


def without_color(name: str) -> str:
    """A name without its colour words; unchanged if it consists of nothing else."""
    left = " ".join(COLOR_WORD.sub(" ", name).split())
    return left or name

"""What is done to one copy of a drawing, decided by its concept, its style and the copy's number.

Every choice takes the same number of draws whatever comes of it, so that one choice never changes
another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from demask import rng
from demask.data.composition.colors import BACKGROUNDS, Rgb
from demask.data.composition.render import PLAIN, WHITE, Placement
from demask.data.composition.words import STYLE_NAMES, Wording

SHARE_STYLED = 0.5
SHARE_OTHER_STYLE_NAME = 0.25
SHARE_RECOLORED = 0.6
SHARE_OWN_COLOR_SAID = 0.25
SHARE_BACKGROUND = 0.3
SHARE_PLACED = 0.3
SHARE_SECOND_CHANGE = 0.2
SMALL = (0.7, 0.82)
TILT = (6.0, 15.0)
SHIFT = (0.75, 1.0)
"""How much of the free margin a small drawing is moved by."""
PLACES = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
}


@dataclass(frozen=True)
class Plan:
    """What is done to a drawing, and how its caption says it."""

    placement: Placement = PLAIN
    color: str | None = None
    background: Rgb = WHITE
    wording: Wording = field(default_factory=Wording)


@dataclass(frozen=True)
class Allowed:
    """What may be done to a drawing.

    Attributes:
        colors: what it may be recoloured with.
        own_color: what it may be called as it is; None where its name or its pixels don't tell.
        mirror: whether it may be mirrored.
        tilt: whether it may be turned.
        fit: the largest scale for an angle in degrees.
    """

    colors: Sequence[str]
    own_color: str | None
    mirror: bool
    tilt: bool
    fit: Callable[[float], float]


def say_style(style: str, draw: random.Random) -> str | None:
    """One of the style's names, or None: the style is left open."""
    said, other, which = draw.random(), draw.random(), draw.random()
    main, *others = STYLE_NAMES.get(style, (style,))
    if said >= SHARE_STYLED:
        return None
    return others[int(which * len(others))] if others and other < SHARE_OTHER_STYLE_NAME else main


def plan(concept: str, style: str, copy: int, allowed: Allowed | None) -> Plan:
    """What is done to a copy of a drawing; copy 0 is the plain drawing on white.

    Args:
        concept: what is drawn.
        style: in which style.
        copy: the number of the copy.
        allowed: what may be done; may be None for copy 0.
    """
    draw = random.Random(rng.derive(0, "composed", concept, style, copy))
    wording = Wording(style=say_style(style, draw))
    if copy == 0 or allowed is None:
        return Plan(wording=wording)
    color, said = choose_color(allowed, draw)
    placement, wording = choose_placement(allowed, draw, replace(wording, color=said))
    background = choose_background(color or allowed.own_color, draw)
    if background is None and color == "white":  # would not be seen on white
        color, wording = None, replace(wording, color=None)
    name, shade = background or (None, WHITE)
    return Plan(placement, color, shade, replace(wording, background=name))


def choose_color(allowed: Allowed, draw: random.Random) -> tuple[str | None, str | None]:
    """The colour that replaces the drawing's own, and the colour that the caption names."""
    changed, which, own = draw.random(), draw.random(), draw.random()
    if changed < SHARE_RECOLORED and allowed.colors:
        color = allowed.colors[int(which * len(allowed.colors))]
        return color, color
    return None, allowed.own_color if own < SHARE_OWN_COLOR_SAID else None


def choose_placement(
    allowed: Allowed, draw: random.Random, wording: Wording
) -> tuple[Placement, Wording]:
    """Mostly none; else small, small and moved, tilted or mirrored, and sometimes two of them."""
    placed, second = draw.random(), draw.random()
    kinds = ["small", "moved"] + ["tilted"] * allowed.tilt + ["mirrored"] * allowed.mirror
    order = sorted(kinds, key=lambda _: draw.random())
    small, tilt, side, shift, place = (draw.random() for _ in range(5))
    if placed >= SHARE_PLACED:
        return PLAIN, wording
    chosen = set(order[: 2 if second < SHARE_SECOND_CHANGE else 1])
    degrees = (TILT[0] + tilt * (TILT[1] - TILT[0])) * (1 if side < 0.5 else -1)
    degrees = degrees if "tilted" in chosen else 0.0
    fit = allowed.fit(degrees)
    share = 1.0
    right = down = 0.0
    where = None
    if chosen & {"small", "moved"}:
        share = SMALL[0] + small * (SMALL[1] - SMALL[0])
    if "moved" in chosen:
        where, (x, y) = list(PLACES.items())[int(place * len(PLACES))]
        margin = (1 - share) / 2 * (SHIFT[0] + shift * (SHIFT[1] - SHIFT[0]))
        right, down = x * margin, y * margin
    mirrored = "mirrored" in chosen
    placement = Placement(mirrored, degrees, fit * share, right, down)
    adjectives = ["small"] * bool(chosen & {"small", "moved"})
    adjectives += ["tilted"] * ("tilted" in chosen) + ["mirrored"] * mirrored
    return placement, replace(wording, adjectives=tuple(adjectives), place=where)


def choose_background(color: str | None, draw: random.Random) -> tuple[str, Rgb] | None:
    """A colour that is not the drawing's own, and one of its shades; None for white."""
    changed, which, shade = draw.random(), draw.random(), draw.random()
    names = [name for name in BACKGROUNDS if name != color]
    name = names[int(which * len(names))]
    shades = BACKGROUNDS[name]
    return (name, shades[int(shade * len(shades))]) if changed < SHARE_BACKGROUND else None

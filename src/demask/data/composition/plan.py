"""How one copy of a drawing is changed: a function of its concept, its style and the copy's number.

Every choice consumes the same number of random numbers whatever its result, so that no choice
depends on another.
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
"""By which part of the free margin a small drawing is moved: the least and the most."""
PLACES = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
}


@dataclass(frozen=True)
class Plan:
    """How a drawing is changed, and the wording of its caption."""

    placement: Placement = PLAIN
    color: str | None = None
    background: Rgb = WHITE
    wording: Wording = field(default_factory=Wording)


@dataclass(frozen=True)
class Allowed:
    """The changes that a drawing allows.

    Attributes:
        colors: the colours that it may be recoloured with.
        own_color: the colour that a caption may name if the drawing is not recoloured, or None.
        mirror: whether it may be mirrored.
        tilt: whether it may be turned.
        fit: angle in degrees -> the largest scale.
    """

    colors: Sequence[str]
    own_color: str | None
    mirror: bool
    tilt: bool
    fit: Callable[[float], float]


def say_style(style: str, draw: random.Random) -> str | None:
    """One of the style's names, or None if the caption does not name the style."""
    said, other, which = draw.random(), draw.random(), draw.random()
    main, *others = STYLE_NAMES.get(style, (style,))
    if said >= SHARE_STYLED:
        return None
    return others[int(which * len(others))] if others and other < SHARE_OTHER_STYLE_NAME else main


def plan(concept: str, style: str, copy: int, allowed: Allowed | None) -> Plan:
    """How a copy of a drawing is changed; copy 0 is the unchanged drawing on white.

    Args:
        concept: the concept of the drawing.
        style: its style.
        copy: the number of the copy.
        allowed: the changes that it allows; may be None for copy 0.
    """
    draw = random.Random(rng.derive(0, "composed", concept, style, copy))
    wording = Wording(style=say_style(style, draw))
    if copy == 0 or allowed is None:
        return Plan(wording=wording)
    color, said = choose_color(allowed, draw)
    placement, wording = choose_placement(allowed, draw, replace(wording, color=said))
    background = choose_background(color or allowed.own_color, draw)
    if background is None and color == "white":  # invisible on white
        color, wording = None, replace(wording, color=None)
    name, shade = background or (None, WHITE)
    return Plan(placement, color, shade, replace(wording, background=name))


def choose_color(allowed: Allowed, draw: random.Random) -> tuple[str | None, str | None]:
    """The colour that replaces the drawing's own, and the one that the caption names, or None."""
    changed, which, own = draw.random(), draw.random(), draw.random()
    if changed < SHARE_RECOLORED and allowed.colors:
        color = allowed.colors[int(which * len(allowed.colors))]
        return color, color
    return None, allowed.own_color if own < SHARE_OWN_COLOR_SAID else None


def choose_placement(
    allowed: Allowed, draw: random.Random, wording: Wording
) -> tuple[Placement, Wording]:
    """The placement, and the wording with it: in 30 % of the copies one or two of four changes.

    The changes are "small", "moved" (which is small as well), "tilted" and "mirrored".
    """
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
    """The name and a shade of a background of another colour than ``color``; None for white."""
    changed, which, shade = draw.random(), draw.random(), draw.random()
    names = [name for name in BACKGROUNDS if name != color]
    name = names[int(which * len(names))]
    shades = BACKGROUNDS[name]
    return (name, shades[int(shade * len(shades))]) if changed < SHARE_BACKGROUND else None

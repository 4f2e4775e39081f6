"""Captions that describe how a drawing was changed."""

from __future__ import annotations

from dataclasses import dataclass

from demask.data.composition.colors import COLOR_WORD, without_color

STYLE_NAMES: dict[str, tuple[str, ...]] = {
    "noto": ("noto",),
    "twemoji": ("flat", "twemoji"),
    "fluent flat": ("fluent flat",),
    "fluent": ("fluent", "glossy"),
    "blob": ("blob",),
}
"""The names of a style in captions, the main one first. A style that is not listed has its own."""

COUNTS = frozenset({"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"})


@dataclass(frozen=True)
class Wording:
    """The parts of a caption besides the name.

    Attributes:
        adjectives: words before the name: "small", "tilted", "mirrored".
        color: the colour of the thing; None leaves the name unchanged.
        place: a phrase after the name, such as "on the left".
        background: the colour of the background; None on white.
        style: one of the names of the style; None does not name it.
    """

    adjectives: tuple[str, ...] = ()
    color: str | None = None
    place: str | None = None
    background: str | None = None
    style: str | None = None

    def say(self, name: str) -> str:
        """The caption for one of the names of a concept.

        >>> Wording(("small",), "green", None, "blue", "flat").say("red car")
        'small green car on a blue background, flat style'
        """
        thing = colored(name, self.color) if self.color else name
        parts = [*self.adjectives, thing]
        parts += [self.place] if self.place else []
        if self.background:
            article = "an" if self.background[0] in "aeiou" else "a"
            parts.append(f"on {article} {self.background} background")
        caption = " ".join(parts)
        return f"{caption}, {self.style} style" if self.style else caption


def colored(name: str, color: str) -> str:
    """A name with a colour: in place of its colour word, else after a count, else in front.

    >>> colored("red apple", "purple"), colored("two hearts", "green"), colored("car", "blue")
    ('purple apple', 'two green hearts', 'blue car')
    """
    if without_color(name) != name:
        return COLOR_WORD.sub(color, name, count=1)
    first, *rest = name.split()
    return " ".join([first, color, *rest]) if first in COUNTS and rest else f"{color} {name}"

"""Captions that say what was done to a drawing."""

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
"""What captions call a style: its main name first. Another style is called by its own name."""

COUNTS = frozenset({"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"})


@dataclass(frozen=True)
class Wording:
    """What a caption says besides the name.

    Attributes:
        adjectives: before the name: "small", "tilted", "mirrored".
        color: of the thing; None leaves the name as it is.
        place: after the name: "on the left".
        background: its colour; None on white.
        style: one of the names of the style; None leaves it open.
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
    """A name with a colour: in place of the colour that it has, after a count, or in front.

    >>> colored("red apple", "purple"), colored("two hearts", "green"), colored("car", "blue")
    ('purple apple', 'two green hearts', 'blue car')
    """
    if without_color(name) != name:
        return COLOR_WORD.sub(color, name, count=1)
    first, *rest = name.split()
    return " ".join([first, color, *rest]) if first in COUNTS and rest else f"{color} {name}"

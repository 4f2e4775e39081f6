"""What a scene consists of: shapes, colours, sizes, relations, and the combinations held out."""

from __future__ import annotations

from dataclasses import dataclass

SIDE = 64
"""Height and width of an image, in pixels."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 225, 60),
    "green": (50, 160, 70),
    "blue": (50, 90, 215),
    "purple": (135, 55, 175),
    "pink": (250, 150, 200),
    "brown": (125, 75, 40),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
}
"""Colours by name, RGB; two entries differ by at least 60 in Euclidean distance."""

COLOURS = tuple(PALETTE)

RADII = {"small": (8.0, 9.0), "large": (12.0, 14.0)}
"""Lowest and highest radius of an object's bounding circle, in pixels."""

SIZES = tuple(RADII)
MAX_OBJECTS = 4
MAX_LARGE = 2
"""A scene of more objects than this has small ones only."""

MARGIN = 2.0
"""Least gap between two bounding circles, and between one and the border, in pixels."""

OFFSET = 14.0
"""Least distance of two centres along the axis of their named relation, in pixels."""

JITTER = 6
"""Each channel of an object's colour differs from the palette by up to this many levels."""

KINDS = (
    "single_object",
    "colors",
    "two_objects",
    "color_attribution",
    "counting",
    "position",
)
"""The kinds of captions, by the names of GenEval (arXiv 2310.11513)."""

RELATIONS = ("left of", "right of", "above", "below")

UNSEEN_PAIRS = frozenset(
    {
        ("red", "circle"),
        ("purple", "circle"),
        ("green", "square"),
        ("pink", "triangle"),
        ("orange", "triangle"),
        ("white", "star"),
        ("yellow", "heart"),
        ("brown", "heart"),
        ("purple", "cross"),
        ("black", "ring"),
        ("blue", "ring"),
        ("orange", "crescent"),
    }
)
"""The (colour, shape) pairs that no training scene has: 12 of 80."""

UNSEEN_COUNTS = frozenset({(3, "heart"), (4, "ring")})
"""The (count, shape) pairs that no training scene has: 2 of 24."""

UNSEEN_RELATIONS = frozenset(
    {
        frozenset({"circle", "triangle"}),
        frozenset({"square", "star"}),
        frozenset({"triangle", "heart"}),
        frozenset({"star", "cross"}),
        frozenset({"heart", "ring"}),
        frozenset({"cross", "crescent"}),
        frozenset({"ring", "circle"}),
        frozenset({"crescent", "square"}),
    }
)
"""The shape pairs whose relation no training caption names: 8 of 28."""

UNSEEN_KINDS = ("colors", "color_attribution", "counting", "position")
"""The kinds of captions that have held-out combinations."""


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        shape: one of `SHAPES`.
        colour: one of `COLOURS`.
        size: one of `SIZES`.
        x: centre of its bounding circle, in pixels from the left border.
        y: the same from the upper border.
        radius: of its bounding circle, in pixels.
        jitter: what is added to each channel of its palette colour.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    jitter: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Scene:
    """A background colour and 1 to 4 objects on it."""

    background: str
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class Requirement:
    """What a caption asks for; None where it leaves an attribute open.

    Attributes:
        kind: one of `KINDS`.
        shapes: of every object (N).
        colours: of every object (N).
        sizes: of every object (N).
        relation: the relation of the first object to the second; one of `RELATIONS`.
        background: one of `COLOURS`.
    """

    kind: str
    shapes: tuple[str, ...]
    colours: tuple[str | None, ...]
    sizes: tuple[str | None, ...]
    relation: str | None = None
    background: str | None = None

    @property
    def unseen(self) -> bool:
        """Whether it names a combination that no training scene has."""
        pairs = set(zip(self.colours, self.shapes, strict=True))
        return (
            bool(pairs & UNSEEN_PAIRS)
            or (self.kind == "counting" and (len(self.shapes), self.shapes[0]) in UNSEEN_COUNTS)
            or (self.relation is not None and frozenset(self.shapes) in UNSEEN_RELATIONS)
        )


def seen_colours(shape: str) -> tuple[str, ...]:
    """The colours that a shape has in training scenes."""
    return tuple(colour for colour in COLOURS if (colour, shape) not in UNSEEN_PAIRS)

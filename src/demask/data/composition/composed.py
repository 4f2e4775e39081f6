"""A source of composed images: every drawing unchanged, then changed copies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demask import rng
from demask.data.captions import hold_out
from demask.data.composition import rules
from demask.data.composition.colors import PALETTE, color_words, without_color
from demask.data.composition.drawings import Drawing, Drawings, find_drawings, read_drawings
from demask.data.composition.plan import Allowed, Plan, plan
from demask.data.composition.recolor import main_color, possible_colors, recolor
from demask.data.composition.render import fitting_scale, render
from demask.data.composition.words import Wording
from demask.data.images import ImageSample
from demask.data.verify import find_unreadable
from demask.fingerprint import fingerprint

PREFIX = "emoji:"
GRAMMAR = f"{PREFIX}FOLDER,COPIES to train on, {PREFIX}FOLDER,held-out to measure on"
VERSION = 1
"""Part of the fingerprint; raised with every change that makes other images or captions."""
HELD_OUT_ALIASES = 0.1
HELD_OUT_PAIRS = 0.1
HELD_OUT_DRAWINGS = 0.02


@dataclass(frozen=True)
class Pair:
    """A thing and a colour that no training image combines.

    Attributes:
        thing: the name of a concept without colour words.
        color: the colour.
        prompt: a prompt for the thing in this colour.
        concepts: the concepts whose name without colour words is ``thing``.
    """

    thing: str
    color: str
    prompt: str
    concepts: tuple[str, ...]


class Catalog:
    """All drawings by concept, and which changes each allows.

    Args:
        drawings: the drawings for training and the held-out ones.
    """

    def __init__(self, drawings: Sequence[Drawing]) -> None:
        self.drawings = list(drawings)
        self.of_concept: dict[str, list[int]] = defaultdict(list)
        self.concepts_of: dict[str, list[str]] = defaultdict(list)
        aliases: dict[str, tuple[str, ...]] = {}
        for number, drawing in enumerate(self.drawings):
            if drawing.concept not in aliases:
                aliases[drawing.concept] = (drawing.concept, *drawing.aliases)
                self.concepts_of[without_color(drawing.concept)].append(drawing.concept)
            self.of_concept[drawing.concept].append(number)
        left, held = hold_out(list(aliases.values()), HELD_OUT_ALIASES)
        self.names = dict(zip(aliases, left, strict=True))
        self.held_out_aliases = [(list(aliases)[i], text) for i, text in held]
        self.people = rules.people((d.concept, d.variant) for d in self.drawings)
        self._looked: dict[int, tuple[str | None, tuple[str, ...]]] = {}
        self._natural: dict[str, frozenset[str]] = {}

    def held_out(self, number: int) -> bool:
        """Whether a drawing is held out for evaluation; the first one of a concept never is."""
        drawing = self.drawings[number]
        if number == self.of_concept[drawing.concept][0]:
            return False
        return chance("held-out drawing", drawing.concept, drawing.style) < HELD_OUT_DRAWINGS

    def recolors(self, concept: str) -> bool:
        """Whether a concept may have any colour."""
        return concept not in self.people and rules.recolors(concept)

    def seen_colors(self, number: int) -> tuple[str | None, tuple[str, ...]]:
        """`possible_colors` of a drawing, cached."""
        if number not in self._looked:
            self._looked[number] = possible_colors(self.drawings[number].rgba())
        return self._looked[number]

    def natural_colors(self, thing: str) -> frozenset[str]:
        """The colours that a thing has in unchanged drawings or in the names of its concepts."""
        if thing not in self._natural:
            found: set[str] = set()
            for concept in self.concepts_of[thing]:
                found.update(color_words(concept))
                own = (self.seen_colors(number)[0] for number in self.of_concept[concept])
                found.update(color for color in own if color)
            self._natural[thing] = frozenset(found)
        return self._natural[thing]

    def is_held_out(self, thing: str, color: str) -> bool:
        """Whether the pair of a thing and a colour is held out; natural colours never are."""
        if color in self.natural_colors(thing):
            return False
        return chance("held-out colour", thing, color) < HELD_OUT_PAIRS

    def colors(self, number: int) -> list[str]:
        """The colours that a drawing may be recoloured with, held-out ones included."""
        concept = self.drawings[number].concept
        if not self.recolors(concept):
            return []
        natural = self.natural_colors(without_color(concept))
        return [color for color in self.seen_colors(number)[1] if color not in natural]

    def allowed(self, number: int, rgba_HW4: np.ndarray) -> Allowed:
        """The changes that a drawing allows in training; ``rgba_HW4`` are its pixels."""
        concept = self.drawings[number].concept
        thing, person = without_color(concept), concept in self.people
        own = None
        if self.recolors(concept) and not color_words(concept):
            own = self.seen_colors(number)[0]
        return Allowed(
            [c for c in self.colors(number) if not self.is_held_out(thing, c)],
            own if own in PALETTE else None,
            not person and rules.mirrors(concept),
            rules.tilts(concept),
            lambda degrees: fitting_scale(rgba_HW4[..., 3], degrees),
        )

    def held_out_pairs(self) -> list[Pair]:
        """The held-out pairs of a thing and a colour, in the order of the drawings."""
        found: dict[tuple[str, str], None] = {}
        for number, drawing in enumerate(self.drawings):
            thing = without_color(drawing.concept)
            for color in self.colors(number):
                if self.is_held_out(thing, color):
                    found[thing, color] = None
        return [
            Pair(thing, color, Wording(color=color).say(self.concepts_of[thing][0]), concepts)
            for thing, color in found
            if (concepts := tuple(self.concepts_of[thing]))
        ]


def chance(*labels: str) -> float:
    """A number in [0, 1) that depends on the labels alone."""
    return rng.derive(0, *labels) / 2**63


class ComposedImages:
    """Copies of drawings: copy 0 of each is unchanged and on white, the others are changed.

    Variants (of a skin tone) have only copy 0, so that they are not the majority. The order is by
    copy, then by drawing, so the images of fewer copies are the first ones of more copies.

    Args:
        catalog: all drawings.
        numbers: the indices in ``catalog.drawings`` of those to use.
        copies: the number of copies of each drawing.

    Raises:
        ValueError: less than one copy.
    """

    def __init__(self, catalog: Catalog, numbers: Sequence[int], copies: int) -> None:
        if copies < 1:
            raise ValueError(f"the number of copies must be at least 1, not {copies}")
        self.catalog, self.copies = catalog, copies
        self.first = list(numbers)
        self.changed = [n for n in numbers if not catalog.drawings[n].variant]
        self.class_names = Drawings(()).class_names

    @property
    def fingerprint(self) -> str:
        """A hash of all drawings, the numbers of those used, the copies and `VERSION`."""
        drawings = Drawings(self.catalog.drawings).fingerprint
        return fingerprint("composed", VERSION, drawings, self.copies, *self.first)

    def __len__(self) -> int:
        return len(self.first) + (self.copies - 1) * len(self.changed)

    def source_of(self, index: int) -> tuple[int, int]:
        """The index of an image's drawing in the catalog, and the number of its copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        if index < len(self.first):
            return self.first[index], 0
        copy, place = divmod(index - len(self.first), len(self.changed))
        return self.changed[place], copy + 1

    def plan_of(self, index: int) -> tuple[Drawing, np.ndarray, Plan]:
        """The drawing of an image, the drawing's pixels (H, W, 4), and how it is changed."""
        number, copy = self.source_of(index)
        drawing = self.catalog.drawings[number]
        rgba_HW4 = drawing.rgba()
        allowed = self.catalog.allowed(number, rgba_HW4) if copy else None
        return drawing, rgba_HW4, plan(drawing.concept, drawing.style, copy, allowed)

    def __getitem__(self, index: int) -> ImageSample:
        drawing, rgba_HW4, made = self.plan_of(index)
        if made.color and (main := main_color(rgba_HW4)):
            rgba_HW4 = recolor(rgba_HW4, main, made.color)
        image = render(rgba_HW4, made.placement, made.background)
        names = self.catalog.names[drawing.concept]
        captions = dict.fromkeys(made.wording.say(name) for name in names)
        return ImageSample(image, 0, f"{drawing.origin} ({drawing.style})", tuple(captions))


def open_composed(
    source: str,
    strict: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> ComposedImages:
    """Open ``emoji:FOLDER,COPIES`` or ``emoji:FOLDER,held-out``; each drawing is decoded once.

    Args:
        source: a folder with parquet files of drawings, or one such file; and the number of copies
            of each drawing, or ``held-out`` for the drawings that are held out from training.
        strict: raise an error for an unreadable drawing; by default it is skipped with a warning.
        progress: called with the number of drawings checked so far.

    Raises:
        ValueError: the source is not written so, does not exist, or holds no drawings.
    """
    match = re.fullmatch(rf"{PREFIX}(.+),(\d+|held-out)", source)
    if not match:
        raise ValueError(f"can't read {source!r}; valid: {GRAMMAR}")
    path = Path(match[1]).expanduser()
    if not path.exists():
        raise ValueError(f"no such path: {path}; valid: {GRAMMAR}")
    drawings = read_drawings(find_drawings(path))
    bad = find_unreadable(Drawings(drawings), strict, progress)
    catalog = Catalog([d for i, d in enumerate(drawings) if i not in bad])
    held = [catalog.held_out(number) for number in range(len(catalog.drawings))]
    wanted = match[2] == "held-out"
    chosen = [number for number, out in enumerate(held) if out == wanted]
    if not chosen:
        raise ValueError(f"{source} holds no drawings")
    return ComposedImages(catalog, chosen, 1 if wanted else int(match[2]))

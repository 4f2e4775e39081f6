"""The true distribution of the attributes that a caption or a class leaves open.

Shape legend: M repeats, N scenes, A categories of an attribute, F all categories of a scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from demask.evaluation.scenes_parser import ParsedScene
from demask.scenes.law import HELD_OUT_SEED, class_scene
from demask.scenes.vocabulary import (
    COLOURS,
    MARGIN,
    MAX_OBJECTS,
    RADII,
    SHAPES,
    SIDE,
    SIZES,
    Requirement,
    Scene,
    seen_colours,
)

CELLS = 4
"""Cells along each axis for positions."""

STEPS = 64
"""Radii of a size over which the distribution of positions is averaged."""

CLASS_SCENES = 6000
"""True scenes from which the distribution of class-conditional scenes is estimated."""

Counts = dict[str, np.ndarray]
"""Attribute -> the count, or the probability, of each category (..., A)."""


class Truth(Protocol):
    """The distribution of scenes under one condition."""

    @property
    def shares(self) -> Counts:
        """The probability of each category of each attribute (A)."""
        ...

    def draw(self, count: int, repeats: int, chance: np.random.Generator) -> Counts:
        """Counts of ``count`` true scenes, ``repeats`` times (M, A); of `distinct` (M, 1)."""
        ...

    def count(self, scenes: Sequence[Scene | ParsedScene]) -> Counts:
        """Counts of some scenes (A); of `distinct` (1)."""
        ...


@dataclass(frozen=True)
class CaptionTruth:
    """The distribution under a caption that names one object, in closed form.

    Attributes:
        joint: the probability of each colour, background, size and cell, (10, 10, 2, 16).
    """

    joint: np.ndarray

    @property
    def shares(self) -> Counts:
        """The marginal distributions."""
        return marginals(self.joint)

    def draw(self, count: int, repeats: int, chance: np.random.Generator) -> Counts:
        """Counts of random scenes."""
        shape = (repeats, *self.joint.shape)
        return counted(chance.multinomial(count, self.joint.ravel(), repeats).reshape(shape))

    def count(self, scenes: Sequence[Scene | ParsedScene]) -> Counts:
        """Counts of scenes of one object."""
        found = np.zeros(self.joint.shape, np.int64)
        for scene in scenes:
            (thing,) = scene.objects
            place = size_index(thing.radius), cell(thing.x, thing.y)
            found[(COLOURS.index(thing.colour), COLOURS.index(scene.background), *place)] += 1
        return counted(found)


def marginals(joint: np.ndarray) -> Counts:
    """The sums over all but one of the last four axes, (..., A)."""
    names = ("colour", "background", "size", "position")
    axes = range(-4, 0)
    return {
        name: joint.sum(tuple(other for other in axes if other != axis))
        for name, axis in zip(names, axes, strict=True)
    }


def counted(joint: np.ndarray) -> Counts:
    """The marginal counts, and the number of categories of the joint distribution that occur."""
    return {**marginals(joint), "distinct": (joint > 0).sum((-4, -3, -2, -1))[..., None]}


def caption_truth(requirement: Requirement) -> CaptionTruth:
    """The distribution under a caption that names one object; see `demask.scenes.law`.

    Raises:
        ValueError: the caption names several objects.
    """
    if len(requirement.shapes) != 1:
        raise ValueError("the closed form is for captions of one object, such as 'a star'")
    (shape,), (colour,), (size,) = requirement.shapes, requirement.colours, requirement.sizes
    pair = np.zeros((len(COLOURS), len(COLOURS)))
    named = requirement.background
    for front in (colour,) if colour else seen_colours(shape):
        for behind in (named,) if named else COLOURS:
            pair[COLOURS.index(front), COLOURS.index(behind)] = front != behind
    # uniform over the allowed pairs: a named background excludes its colour, and each colour leaves
    # the same number of backgrounds
    pair /= pair.sum()
    sizes = np.array([float(size in (None, name)) for name in SIZES])
    places = np.stack([position_shares(name) for name in SIZES])
    placed = (sizes / sizes.sum())[:, None] * places
    return CaptionTruth(pair[:, :, None, None] * placed)


@cache
def position_shares(size: str) -> np.ndarray:
    """The probability of each cell for the centre of a single object of a size, (16)."""
    low, high = RADII[size]
    radius = low + (high - low) * (np.arange(STEPS) + 0.5) / STEPS
    first, last = (radius + MARGIN)[:, None], (SIDE - radius - MARGIN)[:, None]
    edge = np.arange(CELLS + 1) * (SIDE / CELLS)
    inside = (edge[1:].clip(first, last) - edge[:-1].clip(first, last)) / (last - first)
    return np.einsum("ri,rj->ij", inside, inside).ravel() / STEPS


def cell(x: float, y: float) -> int:
    """The number of the cell of a centre, row by row."""
    column, row = (min(max(int(v * CELLS / SIDE), 0), CELLS - 1) for v in (x, y))
    return row * CELLS + column


def size_index(radius: float) -> int:
    """The index in `SIZES` of the size that is nearer to a radius in pixels."""
    return int(radius > (RADII["small"][1] + RADII["large"][0]) / 2)


WIDTHS = {
    "number": MAX_OBJECTS,
    "colour": len(COLOURS),
    "background": len(COLOURS),
    "size": len(SIZES),
    "position": CELLS * CELLS,
}
"""The number of categories of each attribute of a class-conditional scene."""


@dataclass(frozen=True)
class ClassTruth:
    """The distribution under a class, estimated from true scenes; it is the same for all classes.

    Attributes:
        counts_NF: the counts of all categories in every scene.
    """

    counts_NF: np.ndarray

    @property
    def shares(self) -> Counts:
        """The distributions over all scenes."""
        found = split(self.counts_NF.sum(0))
        return {name: counts / counts.sum() for name, counts in found.items()}

    def draw(self, count: int, repeats: int, chance: np.random.Generator) -> Counts:
        """Counts of random scenes."""
        total = len(self.counts_NF)
        chosen = [chance.choice(total, count, replace=count > total) for _ in range(repeats)]
        counts_MF = np.stack([self.counts_NF[one].sum(0) for one in chosen])
        distinct = [[len(np.unique(self.counts_NF[one], axis=0))] for one in chosen]
        return {**split(counts_MF), "distinct": np.array(distinct)}

    def count(self, scenes: Sequence[Scene | ParsedScene]) -> Counts:
        """Counts of some scenes."""
        counts_NF = np.stack([class_counts(scene) for scene in scenes])
        distinct = np.array([len(np.unique(counts_NF, axis=0))])
        return {**split(counts_NF.sum(0)), "distinct": distinct}


def split(counts: np.ndarray) -> Counts:
    """Split counts of all categories (..., F) into those of each attribute."""
    ends = np.cumsum(list(WIDTHS.values()))[:-1]
    return dict(zip(WIDTHS, np.split(counts, ends, axis=-1), strict=True))


def class_counts(scene: Scene | ParsedScene) -> np.ndarray:
    """The counts of all categories in one scene of 1 to 4 objects, (F)."""
    found = {name: np.zeros(width, np.int64) for name, width in WIDTHS.items()}
    found["number"][len(scene.objects) - 1] = 1
    found["background"][COLOURS.index(scene.background)] = 1
    for thing in scene.objects:
        found["colour"][COLOURS.index(thing.colour)] += 1
        found["size"][size_index(thing.radius)] += 1
        found["position"][cell(thing.x, thing.y)] += 1
    return np.concatenate(list(found.values()))


@cache
def class_truth() -> ClassTruth:
    """The distribution under any class."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + CLASS_SCENES)
    return ClassTruth(np.stack([class_counts(class_scene(seed)[0]) for seed in seeds]))


def truth_of(wanted: Requirement | str) -> Truth | None:
    """The distribution under a caption of one object or a class; None for other captions."""
    if isinstance(wanted, str):
        assert wanted in SHAPES
        return class_truth()
    return caption_truth(wanted) if len(wanted.shapes) == 1 else None

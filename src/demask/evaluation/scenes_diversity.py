"""The distance of generated scenes from the true distribution under their condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demask import rng
from demask.evaluation.scenes_parser import ParsedScene
from demask.evaluation.scenes_truth import Counts, Truth, truth_of
from demask.scenes.vocabulary import Requirement, Scene

REPEATS = 200
"""Sets of true samples from which the floor is computed."""


@dataclass(frozen=True)
class Distance:
    """One attribute's distance from the truth, averaged over conditions.

    Attributes:
        attribute: ``colour``, ``background``, ``size``, ``position``, for classes ``number``; or
            ``distinct``, which is no distance but the number of distinct scenes.
        value: total variation distance of the generated and the true distribution, 0 to 1.
        floor: the mean distance of as many true samples.
        floor_low: lower end of the interval of 95 % of the sets of true samples.
        floor_high: its upper end.
        conditions: number of captions or classes.
        images: number of images.
    """

    attribute: str
    value: float
    floor: float
    floor_low: float
    floor_high: float
    conditions: int
    images: int


def total_variation(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Total variation distance of counts (..., A), normalised, from a distribution (A)."""
    return abs(counts / counts.sum(-1, keepdims=True) - shares).sum(-1) / 2


def diversity(
    groups: Mapping[Requirement | str, Sequence[Scene | ParsedScene]], seed: int = 0
) -> list[Distance]:
    """The distances of all attributes that conditions leave open.

    Args:
        groups: caption of one object, or class -> its scenes that are right, at least one.
        seed: seed of the true samples.

    Raises:
        ValueError: a condition without scenes or with several named objects.
    """
    values: dict[str, list[float]] = {}
    floors: dict[str, list[np.ndarray]] = {}
    chance = np.random.Generator(np.random.PCG64(rng.derive(seed, "true scenes")))
    for wanted, scenes in groups.items():
        truth = truth_of(wanted)
        if truth is None or not scenes:
            raise ValueError(f"no distribution is known of {len(scenes)} scenes of {wanted}")
        found = measured(truth, truth.count(scenes))
        true = measured(truth, truth.draw(len(scenes), REPEATS, chance))
        for name, value in found.items():
            values.setdefault(name, []).append(float(value))
            floors.setdefault(name, []).append(true[name])
    images = sum(map(len, groups.values()))
    return [summary(name, values[name], floors[name], images) for name in values]


def measured(truth: Truth, counts: Counts) -> dict[str, np.ndarray]:
    """The distance of each open attribute, and the number of distinct scenes."""
    shares = {name: share for name, share in truth.shares.items() if (share > 0).sum() > 1}
    found = {name: total_variation(counts[name], share) for name, share in shares.items()}
    return {**found, "distinct": counts["distinct"][..., 0]}


def summary(
    name: str, values: Sequence[float], floors: Sequence[np.ndarray], images: int
) -> Distance:
    """The distance of one attribute, from those of each condition and its true samples."""
    floor_M = np.mean(floors, axis=0)
    low, high = np.quantile(floor_M, (0.025, 0.975))
    mean = float(np.mean(values))
    return Distance(name, mean, float(floor_M.mean()), float(low), float(high), len(values), images)

"""The positions of the objects of a scene.

Shape legend: P proposals, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demask.scenes.chance import Chance
from demask.scenes.vocabulary import MARGIN, OFFSET, SIDE

PROPOSALS = 128
"""Proposals of all positions that are drawn at once."""


def free_places(
    radii: Sequence[float], relation: str | None, chance: Chance
) -> list[tuple[float, float]]:
    """The centres of the objects, in pixels: step 9 of `demask.scenes.law`, by rejection sampling.

    Args:
        radii: the radius of each object (N), in pixels.
        relation: of the first object to the second; one of `RELATIONS` or None.
        chance: the random numbers.
    """
    radius_N, count = np.array(radii), len(radii)
    low_N, room_N = radius_N + MARGIN, SIDE - 2 * (radius_N + MARGIN)
    first, second = np.triu_indices(count, 1)
    gap = radius_N[first] + radius_N[second] + MARGIN
    while True:
        proposals = PROPOSALS if count > 1 else 1
        draws_PN2 = chance.uniform(proposals * count * 2).reshape(proposals, count, 2)
        centre_PN2 = low_N[:, None] + draws_PN2 * room_N[:, None]
        offset = centre_PN2[:, first] - centre_PN2[:, second]
        free_P = ((offset * offset).sum(-1) >= gap * gap).all(-1)
        if relation is not None:
            free_P &= has_relation(offset[:, 0, 0], offset[:, 0, 1], relation)
        if free_P.any():
            return [(x, y) for x, y in centre_PN2[free_P.argmax()].tolist()]


def has_relation(x: np.ndarray, y: np.ndarray, relation: str, tolerance: float = 0.0) -> np.ndarray:
    """Whether an object has a relation to another (P), from its offset (P each) in pixels.

    Args:
        x: how far the object is right of the other.
        y: how far it is below the other.
        relation: one of `RELATIONS`.
        tolerance: by how many pixels the offset along the axis may be too small.
    """
    along, across = (x, y) if relation in ("left of", "right of") else (y, x)
    if relation in ("left of", "above"):
        along = -along
    return (along >= OFFSET - tolerance) & (along > abs(across) - tolerance)

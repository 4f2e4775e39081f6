"""Whether an image of a scene shows what its caption describes."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from demask.evaluation.scenes_parser import FoundObject, ParsedScene
from demask.scenes.places import has_relation
from demask.scenes.vocabulary import MAX_OBJECTS, Requirement

TOLERANCE = 1.5
"""By how much two centres may miss their relation, in pixels."""


def is_right(parsed: ParsedScene, requirement: Requirement) -> bool:
    """Whether an image shows exactly what its caption describes.

    The number and shapes of the objects must match, and the colours, sizes, relation and background
    that the caption names. Every object must have another colour than the background.
    """
    if len(parsed.objects) != len(requirement.shapes):
        return False
    if requirement.background not in (None, parsed.background):
        return False
    if any(found.colour == parsed.background for found in parsed.objects):
        return False
    return any(fits(order, requirement) for order in permutations(parsed.objects))


def fits(objects: tuple[FoundObject, ...], requirement: Requirement) -> bool:
    """Whether the objects, in this order, match a requirement."""
    wanted = zip(requirement.shapes, requirement.colours, requirement.sizes, strict=True)
    for found, (shape, colour, size) in zip(objects, wanted, strict=True):
        if found.shape != shape or colour not in (None, found.colour):
            return False
        if size not in (None, found.size):
            return False
    if requirement.relation is None:
        return True
    first, second = objects
    x, y = np.array(first.x - second.x), np.array(first.y - second.y)
    return bool(has_relation(x, y, requirement.relation, TOLERANCE))


def is_of_class(parsed: ParsedScene, shape: str) -> bool:
    """Whether an image is a scene of 1 to 4 objects, all of one shape.

    Every object must have one of the two sizes and another colour than the background.
    """
    return 1 <= len(parsed.objects) <= MAX_OBJECTS and all(
        found.shape == shape and found.size is not None and found.colour != parsed.background
        for found in parsed.objects
    )

"""Whether an image of a scene shows what its caption asks for."""

from __future__ import annotations

from itertools import permutations

from demask.evaluation.scenes_parser import FoundObject, ParsedScene
from demask.scenes.vocabulary import MAX_OBJECTS, OFFSET, Requirement

TOLERANCE = 1.5
"""What a centre may be off without breaking a relation, in pixels."""


def is_right(parsed: ParsedScene, requirement: Requirement) -> bool:
    """Whether the objects of an image are exactly those that are asked for.

    Number, shapes, and the colours, sizes, relation and background that the caption names. Every
    object must have a shape and another colour than the background.
    """
    if len(parsed.objects) != len(requirement.shapes):
        return False
    if requirement.background not in (None, parsed.background):
        return False
    if any(found.colour == parsed.background for found in parsed.objects):
        return False
    return any(fits(order, requirement) for order in permutations(parsed.objects))


def fits(objects: tuple[FoundObject, ...], requirement: Requirement) -> bool:
    """Whether objects in this order are those that are asked for."""
    wanted = zip(requirement.shapes, requirement.colours, requirement.sizes, strict=True)
    for found, (shape, colour, size) in zip(objects, wanted, strict=True):
        if found.shape != shape or colour not in (None, found.colour):
            return False
        if size not in (None, found.size):
            return False
    if requirement.relation is None:
        return True
    return related(objects[0], objects[1], requirement.relation)


def related(first: FoundObject, second: FoundObject, relation: str) -> bool:
    """Whether the first object is left of, right of, above or below the second."""
    x, y = first.x - second.x, first.y - second.y
    along, across = (x, y) if relation in ("left of", "right of") else (y, x)
    if relation in ("left of", "above"):
        along = -along
    return along >= OFFSET - TOLERANCE and along >= abs(across) - TOLERANCE


def is_of_class(parsed: ParsedScene, shape: str) -> bool:
    """Whether an image is a scene of 1 to 4 objects, all of one shape.

    Every object must have one of the two sizes and another colour than the background.
    """
    return 1 <= len(parsed.objects) <= MAX_OBJECTS and all(
        found.shape == shape and found.size is not None and found.colour != parsed.background
        for found in parsed.objects
    )

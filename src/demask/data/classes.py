"""Class numbers: the same names give the same numbers for every source of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from demask.registry import unknown

ONLY_CLASS = "pictures"
"""The one class of pictures that come without labels."""


def number_names(
    found: Sequence[str], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Number classes that the data names.

    Args:
        found: the names, each once, in the data's order.
        wanted: the order to use, which may hold names that the data lacks; None keeps the data's.

    Returns:
        The class names, and the number of each found one.

    Raises:
        ValueError: the data has a class that is not wanted, or a wanted one stands there twice.
    """
    names = tuple(wanted or found)
    if len(set(names)) != len(names):
        raise ValueError(f"a class is named twice in: {', '.join(names)}")
    for name in found:
        if name not in names:
            raise ValueError(f"in the data: {unknown('class', name, names)}")
    return names, tuple(names.index(name) for name in found)


def name_numbers(labels: Sequence[int], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Name classes that the data only numbers; without names, a class is called by its number.

    Raises:
        ValueError: a label below 0, or one that has no name.
    """
    lowest, highest = min(labels, default=0), max(labels, default=0)
    if lowest < 0:
        raise ValueError(f"the label {lowest} is below 0; pictures without a class can't be used")
    names = tuple(wanted or map(str, range(highest + 1)))
    if highest >= len(names):
        raise ValueError(
            f"the label {highest} has no name; the {len(names)} classes are: {', '.join(names)}"
        )
    return names

"""Class numbers: the same names get the same numbers for every source of images."""

from __future__ import annotations

from collections.abc import Sequence

from demask.registry import unknown

ONLY_CLASS = "pictures"
"""The class name of images without labels."""


Label = int | str | None
"""A class in a source: its number, its name, or None."""


def number_labels(
    labels: Sequence[Label], found: Sequence[str] | None, wanted: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """The class number of each image, and the class names.

    Args:
        labels: the class of each image, all by number or all by name; all None if the source has
            no classes.
        found: the names of numbered classes, if the source has them.
        wanted: the class names in the order of their numbers, which may include classes without
            images; None keeps the order of the source.

    Raises:
        ValueError: some images have no class, or a class that has no name or is not in
            ``wanted``; or ``wanted`` lists a class twice.
    """
    if wanted and len(set(wanted)) != len(wanted):
        raise ValueError(f"a class is named twice in: {', '.join(wanted)}")
    if all(label is None for label in labels):
        names, (number,) = number_names([ONLY_CLASS], wanted)
        return [number] * len(labels), names
    if None in labels:
        raise ValueError(f"image {labels.index(None)} has no class, others have one")
    if not all(isinstance(label, int) for label in labels):
        words = list(map(str, labels))
        found = sorted(set(words))
        names, numbers = number_names(found, wanted)
        number_of = dict(zip(found, numbers, strict=True))
        return [number_of[word] for word in words], names
    given = [int(label) for label in labels if label is not None]
    if found is None:
        return given, name_numbers(given, wanted)
    name_numbers(given, found)
    names, numbers = number_names(found, wanted)
    return [numbers[label] for label in given], names


def number_names(
    found: Sequence[str], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Number classes that the source has by name.

    Args:
        found: distinct names, in the order of the source.
        wanted: the order to use, which may include other names; None keeps the source's order.

    Returns:
        The class names, and the number of each of ``found``.

    Raises:
        ValueError: the source has a class that is not in ``wanted``.
    """
    names = tuple(wanted or found)
    for name in found:
        if name not in names:
            raise ValueError(f"in the data: {unknown('class', name, names)}")
    return names, tuple(names.index(name) for name in found)


def name_numbers(labels: Sequence[int], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The names of classes that the source has by number; without names, the numbers as text.

    Raises:
        ValueError: a label below 0, or a label without a name.
    """
    lowest, highest = min(labels, default=0), max(labels, default=0)
    if lowest < 0:
        raise ValueError(f"the label {lowest} is below 0; images without a class can't be used")
    names = tuple(wanted or map(str, range(highest + 1)))
    if highest >= len(names):
        raise ValueError(
            f"the label {highest} has no name; the {len(names)} classes are: {', '.join(names)}"
        )
    return names

"""Preference scores of images: numbers in a column."""

from __future__ import annotations

import math
from collections.abc import Iterable

SCORE_COLUMN = "score"


def read_score(cell: object) -> float | None:
    """The number in a cell, possibly as text; None if the cell is empty or NaN.

    Raises:
        ValueError: the cell holds something else, or an infinite number.
    """
    if cell is None or cell == "":
        return None
    try:
        if not isinstance(cell, int | float | str) or isinstance(cell, bool):
            raise ValueError
        score = float(cell)
    except ValueError:
        raise ValueError(f"a score must be a number, not {cell!r:.60}") from None
    if math.isinf(score):
        raise ValueError(f"a score must be finite, not {score}")
    return None if math.isnan(score) else score


def read_scores(cells: Iterable[object]) -> list[float | None]:
    """`read_score` of every cell of a column.

    Raises:
        ValueError: as `read_score`.
    """
    return [read_score(cell) for cell in cells]


def known(scores: Iterable[float | None]) -> list[object]:
    """The scores as part of a fingerprint; empty if there are none."""
    found = list(scores)
    return [] if all(score is None for score in found) else [("scores", *found)]

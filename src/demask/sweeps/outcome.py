"""The result of one variant of a comparison, by one scorer."""

from __future__ import annotations

from dataclasses import dataclass

from demask.evaluation.win_rate import Paired


@dataclass(frozen=True)
class Outcome:
    """A variant against the base, in the eyes of one scorer.

    Attributes:
        variant: its name.
        scorer: the name of who judged.
        mean: the mean score.
        paired: against the base; None for the base itself.
        forwards: for each image.
        seconds: for each image.
    """

    variant: str
    scorer: str
    mean: float
    paired: Paired | None
    forwards: float
    seconds: float

"""The result of one variant of a comparison, by one scorer."""

from __future__ import annotations

from dataclasses import dataclass

from demask.evaluation.win_rate import Paired


@dataclass(frozen=True)
class Outcome:
    """A variant compared with the base, by one scorer.

    Attributes:
        variant: the name of the variant.
        scorer: the name of the scorer.
        mean: the mean score.
        paired: the paired comparison with the base; None for the base itself.
        forwards: forward passes per image.
        seconds: wall-clock time per image.
    """

    variant: str
    scorer: str
    mean: float
    paired: Paired | None
    forwards: float
    seconds: float

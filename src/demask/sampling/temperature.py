"""Temperatures that change over the steps.

Two published decays share the name: the original MaskGIT falls linearly, the self-guidance program
multiplies the linear factors up. Both are here, each under a name of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from demask.registry import Table
from demask.types import Step


def constant(step: Step) -> float:
    """No decay."""
    return 1.0


def linear(step: Step) -> float:
    """1 - (k + 1) / T: MaskGIT (arXiv 2202.04200, Algorithm in section 3.2); 0 at the last step."""
    return 1 - step.progress


def cumulative(step: Step) -> float:
    """prod over j <= k of (1 - (j + 1) / T): the self-guidance program (arXiv 2410.13136).

    Its released 25 (256 px) and 45 (512 px) are calibrated to this.
    """
    return math.prod(1 - (j + 1) / step.steps for j in range(step.index + 1))


def endpoints(step: Step) -> float:
    """1 - k / (T - 1), from 1 at the first step to 0 at the last: Meissonic (arXiv 2410.08261)."""
    return 1 - step.index / max(step.steps - 1, 1)


DECAYS: Table[Callable[[Step], float]] = Table(
    "temperature decay",
    {"constant": constant, "linear": linear, "cumulative": cumulative, "endpoints": endpoints},
)


@dataclass(frozen=True)
class Temperature:
    """A temperature for every step.

    Attributes:
        value: the temperature before decay, or a tuple with one value for each step.
        decay: a row of `DECAYS`; ignored where ``value`` is a tuple.

    Raises:
        ValueError: a negative value or an unknown decay.
    """

    value: float | tuple[float, ...] = 1.0
    decay: str = "constant"

    def __post_init__(self) -> None:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not all(v >= 0 and math.isfinite(v) for v in values):
            raise ValueError(f"a temperature is a finite number of at least 0, not {self.value}")
        DECAYS[self.decay]

    def at(self, step: Step) -> float:
        """The temperature of one step."""
        if not isinstance(self.value, tuple):
            return self.value * DECAYS[self.decay](step)
        if len(self.value) != step.steps:
            raise ValueError(f"{len(self.value)} temperatures were given for {step.steps} steps")
        return self.value[step.index]

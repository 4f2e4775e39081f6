"""Guidance scales over the steps.

One convention everywhere: guided = reference + s * (conditional - reference), so 1 is off, 0 is the
reference alone, and a paper's w with "conditional + w * (conditional - reference)" is s = 1 + w.
Rising scales start at 1: early guidance is harmful (arXiv 2507.08965) and costs a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from demask.registry import Table, UnknownNameError, build, unknown, usage
from demask.types import Step

Scale = Callable[[Step], float]


@dataclass(frozen=True)
class Constant:
    """The same scale in every step."""

    value: float

    def __call__(self, step: Step) -> float:
        return self.value


@dataclass(frozen=True)
class Ramp:
    """a + (s - a) r: changes linearly from a to the full scale at the last step.

    Attributes:
        value: s, the full scale.
        start: a; by default 1, off.
        delayed: r = k / T instead of (k + 1) / T, so that the first step has the scale a and the
            last one not yet s.
    """

    value: float
    start: float = 1.0
    delayed: bool = False

    def __call__(self, step: Step) -> float:
        return self.start + (self.value - self.start) * done(step, self.delayed)


@dataclass(frozen=True)
class Endpoints:
    """1 + (s - 1) k / (T - 1): off at the first step, full at the last (arXiv 2310.14400)."""

    value: float

    def __call__(self, step: Step) -> float:
        return 1 + (self.value - 1) * step.index / max(step.steps - 1, 1)


@dataclass(frozen=True)
class PowerCosine:
    """a + (s - a) (1 - cos(pi r^p)) / 2: rises late (MaskBit, arXiv 2409.16211, with p = 3).

    Attributes:
        value: s, the full scale.
        power: p.
        start: a; by default 1, off.
        delayed: r = k / T instead of (k + 1) / T, as the programs of MaskBit and TiTok have it.

    Raises:
        ValueError: the power is not positive.
    """

    value: float
    power: float = 3.0
    start: float = 1.0
    delayed: bool = False

    def __post_init__(self) -> None:
        check_power(self.power)

    def __call__(self, step: Step) -> float:
        wave = math.cos(math.pi * done(step, self.delayed) ** self.power)
        return self.start + (self.value - self.start) * (1 - wave) / 2


@dataclass(frozen=True)
class FlippedCosine:
    """a + (s - a) cos(pi r^p) / 2: falls from the mean of a and s (MaskGen, arXiv 2501.07730).

    It ends at a - (s - a) / 2, which may be negative.

    Attributes:
        value: s.
        power: p.
        start: a.

    Raises:
        ValueError: the power is not positive.
    """

    value: float
    power: float = 1.0
    start: float = 1.0

    def __post_init__(self) -> None:
        check_power(self.power)

    def __call__(self, step: Step) -> float:
        wave = math.cos(math.pi * step.progress**self.power)
        return self.start + (self.value - self.start) * wave / 2


def done(step: Step, delayed: bool) -> float:
    """The fraction r of the steps that is done: (k + 1) / T, or k / T where it is delayed."""
    return step.index / step.steps if delayed else step.progress


def check_power(power: float) -> None:
    """Raise a ValueError for a power that is not positive."""
    if not power > 0:
        raise ValueError(f"the power of a guidance scale is positive, not {power}")


@dataclass(frozen=True)
class Interval:
    """The full scale where start < r <= stop, off elsewhere (arXiv 2404.07724).

    Raises:
        ValueError: not 0 <= start < stop <= 1.
    """

    value: float
    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"a guidance interval needs 0 <= start < stop <= 1, not {self.start} to {self.stop}"
            )

    def __call__(self, step: Step) -> float:
        return self.value if self.start < step.progress <= self.stop else 1.0


@dataclass(frozen=True)
class ListedScale:
    """1 + (s - 1) f_k: one factor per step, as found by a search (AutoNAT, CVPR 2024).

    Raises:
        ValueError: a factor that is not finite; when called, a different number of steps.
    """

    value: float
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(factor) for factor in self.factors):
            raise ValueError(f"guidance factors are finite numbers, not {list(self.factors)}")

    def __call__(self, step: Step) -> float:
        if len(self.factors) != step.steps:
            raise ValueError(
                f"{len(self.factors)} guidance factors were given for {step.steps} steps"
            )
        return 1 + (self.value - 1) * self.factors[step.index]


SCALES: Table[Callable[..., Scale]] = Table(
    "guidance scale",
    {
        "constant": Constant,
        "ramp": Ramp,
        "endpoints": Endpoints,
        "power_cosine": PowerCosine,
        "flipped_cosine": FlippedCosine,
        "interval": Interval,
    },
)

SCALE_FAMILIES: Table[Callable[..., Scale]] = Table("guidance scale", {"listed": ListedScale})
"""Scales that need an option."""


def parse_scale(text: str, value: float) -> Scale:
    """Parse a guidance schedule: ``ramp``, ``ramp:delayed=True``, ``listed:0,0.5,1``, ...

    Args:
        text: a row of `SCALES` or `SCALE_FAMILIES`, with options after a colon.
        value: the full scale; 1 is off.

    Raises:
        ValueError: an unknown name or option, or a factor that is not a number.
    """
    name = text.partition(":")[0]
    if name in SCALE_FAMILIES:
        return build(SCALE_FAMILIES, text, value=value)
    if name not in SCALES:
        families = [f"{n}:{usage(row, ('value',))}" for n, row in SCALE_FAMILIES.items()]
        raise UnknownNameError(unknown(SCALES.kind, name, [*SCALES, *families]))
    return build(SCALES, text, value=value)

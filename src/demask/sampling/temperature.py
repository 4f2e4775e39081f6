"""Temperatures that change over the steps.

Two published decays are called linear: MaskGIT uses 1 - (k + 1) / T, the self-guidance program the
cumulative product of these factors. Here they are ``linear`` and ``cumulative``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from demask.registry import Table, choose
from demask.types import Step

Decay = Callable[[Step], float]


def constant(step: Step) -> float:
    """No decay."""
    return 1.0


def linear(step: Step) -> float:
    """1 - (k + 1) / T: MaskGIT (arXiv 2202.04200, Algorithm in section 3.2); 0 at the last step."""
    return 1 - step.progress


def cumulative(step: Step) -> float:
    """prod over j <= k of (1 - (j + 1) / T): the self-guidance program (arXiv 2410.13136).

    The released temperatures, 25 (256 px) and 45 (512 px), are tuned for this decay.
    """
    return math.prod(1 - (j + 1) / step.steps for j in range(step.index + 1))


def endpoints(step: Step) -> float:
    """1 - k / (T - 1), from 1 at the first step to 0 at the last: Meissonic (arXiv 2410.08261)."""
    return 1 - step.index / max(step.steps - 1, 1)


def annealed(step: Step) -> float:
    """0.5 + 0.8 (1 - r): the softmax temperature of MaskBit's and TiTok's programs, ends at 0.5."""
    return 0.5 + 0.8 * (1 - step.progress)


def annealed_linear(step: Step) -> float:
    """`annealed` times `linear`: TiTok (arXiv 2406.07550) and MaskGen (arXiv 2501.07730).

    Their programs divide the logits by the annealed temperature a, add Gumbel noise of the linearly
    decaying temperature tau, and take the largest. Logits without the division need noise a tau.
    """
    return annealed(step) * linear(step)


DECAYS: Table[Decay] = Table(
    "temperature decay",
    {
        "constant": constant,
        "linear": linear,
        "cumulative": cumulative,
        "endpoints": endpoints,
        "annealed": annealed,
        "annealed_linear": annealed_linear,
    },
)


@dataclass(frozen=True)
class PowerDecay:
    """(1 - r)^p: p = 1 is linear, p > 1 falls faster at first, p < 1 slower.

    Raises:
        ValueError: p is not a positive number.
    """

    power: float

    def __post_init__(self) -> None:
        if not (self.power > 0 and math.isfinite(self.power)):
            raise ValueError(f"the power of a temperature decay is positive, not {self.power}")

    def __call__(self, step: Step) -> float:
        return float((1 - step.progress) ** self.power)


@dataclass(frozen=True)
class LineDecay:
    """Linear from 1 at the first step to ``end`` at the last; ``end`` may be above 1.

    Raises:
        ValueError: the end is no finite number of at least 0.
    """

    end: float

    def __post_init__(self) -> None:
        if not (self.end >= 0 and math.isfinite(self.end)):
            raise ValueError(f"a temperature decay ends at 0 or above, not at {self.end}")

    def __call__(self, step: Step) -> float:
        return 1 + (self.end - 1) * step.index / max(step.steps - 1, 1)


@dataclass(frozen=True)
class Sharpening:
    """1 / a_k of Halton-MaskGIT's program (arXiv 2503.17076), which multiplies the logits by a_k.

    a_k = (1 + (end - 1) k / (T - 1))^power, halved in the first steps: an ``end`` above 1 sharpens.

    Attributes:
        end: a before the power, at the last step; it is 1 at the first.
        power: its exponent.
        warmup: the number of steps in which it is halved.

    Raises:
        ValueError: an end that is not positive, a negative warmup or a power that is not finite.
    """

    end: float
    power: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        if not (self.end > 0 and math.isfinite(self.end) and math.isfinite(self.power)):
            raise ValueError(f"a sharpening ends above 0, not at {self.end}^{self.power}")
        if self.warmup < 0:
            raise ValueError(f"the warmup of a sharpening is 0 steps or more, not {self.warmup}")

    def __call__(self, step: Step) -> float:
        line = 1 + (self.end - 1) * step.index / max(step.steps - 1, 1)
        return float((2.0 if step.index < self.warmup else 1.0) / line**self.power)


@dataclass(frozen=True)
class ListedDecay:
    """One factor per step, as found by a search (AutoNAT, CVPR 2024).

    Raises:
        ValueError: a negative factor; when called, a different number of steps.
    """

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(f >= 0 and math.isfinite(f) for f in self.factors):
            raise ValueError(f"listed factors are numbers of at least 0, not {list(self.factors)}")

    def __call__(self, step: Step) -> float:
        return of_step(self.factors, step, "temperature factors")


def of_step(values: tuple[float, ...], step: Step, what: str) -> float:
    """The value of a step, from one value per step.

    Raises:
        ValueError: the number of values differs from the number of steps.
    """
    if len(values) != step.steps:
        raise ValueError(f"{len(values)} {what} were given for {step.steps} steps")
    return values[step.index]


DECAY_FAMILIES: Table[Callable[..., Decay]] = Table(
    "temperature decay",
    {
        "power": PowerDecay,
        "line": LineDecay,
        "sharpening": Sharpening,
        "listed": ListedDecay,
    },
)
"""Decays that need an option."""


def parse_decay(text: str) -> Decay:
    """Parse a decay: a row of `DECAYS`, ``power:2``, ``line:0.5`` or ``listed:1,.5``.

    Raises:
        ValueError: an unknown name, or invalid numbers.
    """
    return choose(DECAYS, DECAY_FAMILIES, text)


@dataclass(frozen=True)
class Temperature:
    """A temperature schedule.

    Attributes:
        value: the temperature before decay, or one value per step.
        decay: see `parse_decay`; ignored where ``value`` is a tuple.

    Raises:
        ValueError: a negative value or an unknown decay.
    """

    value: float | tuple[float, ...] = 1.0
    decay: str = "constant"

    def __post_init__(self) -> None:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not all(v >= 0 and math.isfinite(v) for v in values):
            raise ValueError(f"a temperature is a finite number of at least 0, not {self.value}")
        parse_decay(self.decay)

    def at(self, step: Step) -> float:
        """The temperature of one step."""
        if not isinstance(self.value, tuple):
            return self.value * parse_decay(self.decay)(step)
        return of_step(self.value, step, "temperatures")

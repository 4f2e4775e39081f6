"""Mask schedules: the fraction of tokens that is still masked after each step.

A schedule is a function gamma(r) of the fraction r = (k + 1) / T of steps done; it falls from 1 to
0 (MaskGIT, arXiv 2202.04200, section 3.3). Concave schedules unmask few tokens at first.

Shape legend: B batch, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from demask.registry import Table, choose
from demask.sampling.published_schedules import (
    ConfidenceCounts,
    CountSchedule,
    HaltonCounts,
    RevealedCounts,
)

Schedule = Callable[[float], float]

PAPER_TOKENS = 256  # exponential and logarithmic are defined for the paper's grid size


def cosine(r: float) -> float:
    """cos(pi r / 2), MaskGIT's default.

    Computed in float32 like the published programs: cos(pi / 3) is then slightly below 0.5, which
    masks 2047 of 4096 tokens, not 2048.
    """
    angle = torch.tensor(r, dtype=torch.float32) * math.pi / 2
    gamma: float = angle.cos().item()
    return max(gamma, 0.0)


def linear(r: float) -> float:
    """1 - r: the same number of tokens in each step."""
    return 1 - r


def square(r: float) -> float:
    """1 - r^2."""
    return 1 - r**2


def cubic(r: float) -> float:
    """1 - r^3."""
    return 1 - r**3


def square_root(r: float) -> float:
    """1 - sqrt(r), convex."""
    return 1 - math.sqrt(r)


def exponential(r: float) -> float:
    """1 - N^(r - 1) with N = 256: concave; one token short of 1 at the start."""
    return 1 - math.pow(PAPER_TOKENS, r - 1)


def logarithmic(r: float) -> float:
    """-log_N(r) with N = 256, at most 1: convex."""
    return min(1.0, -math.log(max(r, 1 / PAPER_TOKENS), PAPER_TOKENS))


def arccos(r: float) -> float:
    """arccos(r) / (pi / 2), the default of the Halton order (arXiv 2503.17076)."""
    return math.acos(r) / (math.pi / 2)


def sigmoid(r: float) -> float:
    """A logistic curve over [-3, 3], rescaled to fall from 1 to 0: slow at both ends."""
    low, high, here = (1 / (1 + math.exp(-x)) for x in (-3, 3, 6 * r - 3))
    return (high - here) / (high - low)


@dataclass(frozen=True)
class Power:
    """1 - r^p: convex below 1, concave above.

    Raises:
        ValueError: p is not a positive number.
    """

    exponent: float

    def __post_init__(self) -> None:
        if not (self.exponent > 0 and math.isfinite(self.exponent)):
            raise ValueError(f"the power of a mask schedule is positive, not {self.exponent}")

    def __call__(self, r: float) -> float:
        return float(1 - r**self.exponent)


@dataclass(frozen=True)
class Ratios:
    """One mask ratio per step, as found by a search (AutoNAT, CVPR 2024).

    Ratios for T steps are interpolated linearly for another number of steps.

    Attributes:
        values: T ratios, the last of which is 0; the final 0 may be omitted.

    Raises:
        ValueError: no values, a value outside [0, 1], or values that rise.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(a >= b for a, b in zip((1.0, *self.values), (*self.values, 0.0), strict=True))
        if not self.values or not falls:
            raise ValueError(f"masked ratios fall from 1 to 0, unlike {list(self.values)}")

    def __call__(self, r: float) -> float:
        knots = (1.0, *self.values) if self.values[-1] == 0 else (1.0, *self.values, 0.0)
        position = r * (len(knots) - 1)
        left = min(int(position), len(knots) - 2)
        share = position - left
        return knots[left] * (1 - share) + knots[left + 1] * share


@dataclass(frozen=True)
class LinearFloat32:
    """1 - r, and the counts in single precision, as aMUSEd's program inpaints (arXiv 2401.01808).

    Of 96 tokens in 12 steps it leaves 63 after the fourth; `linear` leaves 64.
    """

    def __call__(self, r: float) -> float:
        gamma: float = (1 - torch.tensor(r, dtype=torch.float32)).item()
        return gamma


SCHEDULES: Table[Schedule] = Table(
    "mask schedule",
    {
        "cosine": cosine,
        "linear": linear,
        "linear_float32": LinearFloat32(),
        "square": square,
        "cubic": cubic,
        "square_root": square_root,
        "exponential": exponential,
        "logarithmic": logarithmic,
        "arccos": arccos,
        "sigmoid": sigmoid,
        "halton": HaltonCounts(),
    },
)


SCHEDULE_FAMILIES: Table[Callable[..., Schedule]] = Table(
    "mask schedule",
    {
        "power": Power,
        "ratios": Ratios,
        "halton_confidence": ConfidenceCounts,
        "maskgit_v1": RevealedCounts,
    },
)
"""Schedules that have an option."""


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule: a row of `SCHEDULES`, ``power:2.5`` or ``ratios:.9,.5``.

    Raises:
        ValueError: an unknown name, or invalid numbers.
    """
    return choose(SCHEDULES, SCHEDULE_FAMILIES, text)


def num_masked_after(
    schedule: Schedule, steps: int, num_masked_B: Tensor, first: int = 0, tokens: int = 0
) -> Tensor:
    """The number of masked tokens after each step (MaskGIT, section 3.2).

    floor(N gamma((k + 1) / T)), at least 1 before the last step, and strictly falling. An
    image with fewer masked tokens than steps finishes early. A `CountSchedule` counts itself.

    Args:
        schedule: gamma.
        steps: T.
        num_masked_B: the number of masked tokens before the first step that is made, int64; it is
            N in a loop that makes all steps.
        first: index of the first step that is made; the counts of the steps before it are
            ``num_masked_B``.
        tokens: N of a loop that starts in the middle of its schedule.

    Returns:
        Counts (B, T), int64; the last is 0.

    Raises:
        ValueError: fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"the number of steps is 1 or more, not {steps}")
    start_B = num_masked_B.cpu()
    if isinstance(schedule, CountSchedule):
        if first:
            raise ValueError(
                "a mask schedule that counts tokens itself cannot start in the middle; cosine can"
            )
        return schedule.num_masked(steps, start_B).to(num_masked_B.device)
    whole_B = torch.full_like(start_B, tokens) if first else start_B
    dtype = torch.float32 if isinstance(schedule, LinearFloat32) else torch.float64
    counts = [start_B] * (first + 1)
    for k in range(first, steps - 1):
        # the epsilon keeps 49 * (1 - 1 / 49) from being floored to 47
        wanted_B = (whole_B.to(dtype) * schedule((k + 1) / steps) + 1e-9).floor().long()
        counts.append(torch.minimum(wanted_B.clamp_min(1), (counts[-1] - 1).clamp_min(0)))
    counts.append(torch.zeros_like(start_B))
    return torch.stack(counts[1:], dim=-1).to(num_masked_B.device)

"""The token counts of published programs that no function of the fraction of steps gives exactly.

They count the tokens that are decoded, not the masked ones, and in single precision.

Shape legend: B batch, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from demask.registry import unknown


@runtime_checkable
class CountSchedule(Protocol):
    """A mask schedule that counts tokens itself."""

    def __call__(self, r: float) -> float:
        """The masked fraction, as for every schedule."""
        ...

    def num_masked(self, steps: int, start_B: Tensor) -> Tensor:
        """Masked tokens after each step (B, T), int64; the last is 0.

        Args:
            steps: T.
            start_B: masked tokens before the first step, int64, on the CPU.
        """
        ...


Shape = Callable[[Tensor], Tensor]
"""The decoded fraction at each r of a tensor; it rises from 0 to 1."""

SHAPES: Mapping[str, Shape] = {
    "root": torch.sqrt,
    "linear": lambda r_T: r_T,
    "square": torch.square,
    "cosine": lambda r_T: 1 - torch.cos(r_T * math.pi * 0.5),
    "arccos": lambda r_T: 1 - torch.acos(r_T) / (math.pi * 0.5),
}


def checked(shape: str) -> None:
    """Raise a ValueError for a name that is not in `SHAPES`."""
    if shape not in SHAPES:
        raise ValueError(unknown("shape", shape, SHAPES))


def masked_fraction(shape: str, r: float) -> float:
    """The masked fraction of a shape at r."""
    return min(1.0, max(0.0, 1 - float(SHAPES[shape](torch.tensor(r, dtype=torch.float64)))))


def left_masked(decoded_BT: Tensor, start_B: Tensor) -> Tensor:
    """Masked tokens after each step (B, T), from the decoded ones; the last step decodes all."""
    left_BT = (start_B[:, None] - decoded_BT).clamp_min(0)
    left_BT[:, -1] = 0
    return left_BT


def at_least_one_a_step(fraction_T: Tensor, start_B: Tensor) -> Tensor:
    """max(k + 1, floor(N x)) tokens decoded after step k, at x (T); as masked tokens (B, T)."""
    decoded_BT = (start_B[:, None].float() * fraction_T).floor().long()
    least_T = torch.arange(1, len(fraction_T) + 1)
    return left_masked(torch.maximum(decoded_BT, least_T), start_B)


@dataclass(frozen=True)
class HaltonCounts:
    """The Halton sampler's counts (arXiv 2503.17076): arccos, at least one token a step."""

    def __call__(self, r: float) -> float:
        return masked_fraction("arccos", r)

    def num_masked(self, steps: int, start_B: Tensor) -> Tensor:
        """See `CountSchedule`."""
        r_T = torch.arange(1, steps + 1, dtype=torch.float32) / steps
        return at_least_one_a_step(SHAPES["arccos"](r_T), start_B)


@dataclass(frozen=True)
class ConfidenceCounts:
    """The counts of Halton-MaskGIT's confidence sampler, whose first step decodes one token.

    Attributes:
        shape: root, linear, square, cosine or arccos (the default there).

    Raises:
        ValueError: another shape.
    """

    shape: str = "arccos"

    def __post_init__(self) -> None:
        checked(self.shape)

    def __call__(self, r: float) -> float:
        return masked_fraction(self.shape, r)

    def num_masked(self, steps: int, start_B: Tensor) -> Tensor:
        """See `CountSchedule`."""
        return at_least_one_a_step(SHAPES[self.shape](torch.linspace(0, 1, steps)), start_B)


@dataclass(frozen=True)
class RevealedCounts:
    """The counts of MaskGIT-pytorch 1.0 (arXiv 2310.14400): so many tokens decoded in each step.

    The shape of the decoded fraction of later programs is here that of each step's share.

    Attributes:
        shape: root, linear, square, cosine or arccos (the default there).

    Raises:
        ValueError: another shape.
    """

    shape: str = "arccos"

    def __post_init__(self) -> None:
        checked(self.shape)

    def __call__(self, r: float) -> float:
        share_N = self.shares(256)
        done = share_N[: round(r * 256)].sum() / share_N.sum()
        return min(1.0, max(0.0, 1 - float(done)))

    def shares(self, steps: int) -> Tensor:
        """The share of each step (T), before it is divided by their sum."""
        r_T = torch.linspace(1, 0, steps)
        falling: Mapping[str, Shape] = {
            "root": lambda r_T: 1 - torch.sqrt(r_T),
            "linear": lambda r_T: 1 - r_T,
            "square": lambda r_T: 1 - torch.square(r_T),
            "cosine": lambda r_T: torch.cos(r_T * math.pi * 0.5),
            "arccos": lambda r_T: torch.acos(r_T) / (math.pi * 0.5),
        }
        return falling[self.shape](r_T)

    def num_masked(self, steps: int, start_B: Tensor) -> Tensor:
        """See `CountSchedule`. Where their counts exceed the tokens, the last steps do nothing."""
        share_T = self.shares(steps)
        share_T = share_T / share_T.sum().clamp_min(torch.finfo(torch.float32).tiny)
        revealed_BT = (share_T * start_B[:, None]).round().long().clamp_min(1)
        return left_masked(revealed_BT.cumsum(-1), start_B)

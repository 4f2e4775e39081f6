"""Noise regularisation: Gaussian noise on the logits, largest at both ends of the loop.

Shape legend: B batch, L tokens, V codebook, R rows (the required positions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from demask import rng
from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.types import DecodeState, Step


@dataclass(frozen=True)
class NoiseRegularization(Correction):
    """Add sigma_k * N(0, 1) to the guided logits (arXiv 2411.10781).

    Attributes:
        strength: factor of sigma; 1 as published, 0 is off.

    Raises:
        ValueError: a negative strength.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"the strength is 0 (off) or more, not {self.strength}")

    def sigma(self, step: Step) -> float:
        """2 |cos(pi t / (T - 1))|, t = T-1..0: 2 at both ends, 0 in the middle."""
        t = step.steps - 1 - step.index
        return self.strength * 2 * abs(math.cos(math.pi * t / max(step.steps - 1, 1)))

    def adjust(self, logits_BLV: Tensor, state: DecodeState, context: DecodeContext) -> Tensor:
        if self.strength == 0:
            return logits_BLV
        read_BL = state.step.rows_BL
        assert read_BL is not None, "the loop says which rows it reads"
        codes = logits_BLV.shape[-1]
        noise_RV = torch.cat(
            [
                rng.normal([generator], count, codes)[0]
                for generator, count in zip(
                    context.generators, read_BL.sum(-1).tolist(), strict=True
                )
            ]
        ).to(logits_BLV)
        noisy_BLV = logits_BLV.clone()
        noisy_BLV[read_BL] += self.sigma(state.step) * noise_RV
        return noisy_BLV

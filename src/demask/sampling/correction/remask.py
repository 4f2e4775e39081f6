"""Remasking: decided tokens are masked again by chance, so that early mistakes can be mended.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from demask import rng
from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.types import DecodeState


@dataclass(frozen=True)
class Remask(Correction):
    """Mask each decided token again with probability sigma after a step (ReMDM, arXiv 2503.00307).

    The loop decides as many more in the next step, so that the schedule is kept. That bounds
    sigma: after step k, in which D tokens stand decided and of which the next step leaves h masked,

        sigma <= sigma_max = min(1, h / D),

    the paper's (1 - alpha_s) / alpha_t. Nothing is masked once the next step is the last.

    Attributes:
        strength: eta; sigma = min(eta, sigma_max) (the paper's capped variant); 0 is off.
        rescale: sigma = eta * sigma_max instead; eta is then at most 1.
        confidence_based: rather those that this step's forward gave a low probability: sigma is
            weighed by exp(-p), its mean stays (the paper's confidence variant).
        start: only from this part of the loop on, 0 to 1.

    Raises:
        ValueError: a number out of range.
    """

    strength: float = 0.1
    rescale: bool = False
    confidence_based: bool = False
    start: float = 0.0
    may_remask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"the strength is 0 (off) or more, not {self.strength}")
        if self.rescale and self.strength > 1:
            raise ValueError(f"a rescaled strength is at most 1, not {self.strength}")
        if not 0 <= self.start <= 1:
            raise ValueError(f"the start is from 0 to 1, not {self.start}")

    def required_positions(self, state: DecodeState) -> Tensor:
        return (
            state.decoded_BL
            if self.confidence_based and self.strength
            else super().required_positions(state)
        )

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        step = state.step
        if not self.strength or step.index + 1 == step.steps or step.progress <= self.start:
            return state
        decoded_BL = state.decoded_BL
        sigma_BL = self.sigma(state, decoded_BL, context.num_masked_BT[:, step.index + 1])
        chance_BL = rng.uniform(context.generators, decoded_BL.shape[1]).to(decoded_BL.device)
        again_BL = decoded_BL & (chance_BL < sigma_BL)
        ids_BL = torch.where(again_BL, state.mask_id, state.ids_BL)
        return replace(state, ids_BL=ids_BL, unmasked_now_BL=state.unmasked_now_BL & ~again_BL)

    def sigma(self, state: DecodeState, decoded_BL: Tensor, left_B: Tensor) -> Tensor:
        """The probability to mask each decided token again (B, L), or (B, 1) where all have one.

        Args:
            state: after a step.
            decoded_BL: the tokens in question.
            left_B: how many tokens the next step leaves masked.
        """
        count_B = decoded_BL.sum(-1).clamp_min(1)
        most_B = (left_B / count_B.double()).clamp_max(1)
        sigma_B = most_B * self.strength if self.rescale else most_B.clamp_max(self.strength)
        if not self.confidence_based:
            return sigma_B[:, None]
        weight_BL = torch.where(decoded_BL, torch.exp(-self.probability(state, decoded_BL)), 0)
        share_BL = weight_BL / weight_BL.sum(-1, keepdim=True).clamp_min(1e-9)
        return share_BL * (count_B * sigma_B)[:, None]

    @staticmethod
    def probability(state: DecodeState, decoded_BL: Tensor) -> Tensor:
        """What this step's forward thought of each decided token, p (B, L); 0 elsewhere."""
        assert state.guided_BLV is not None, "a step was made"
        ids_R = state.ids_BL[decoded_BL][:, None]
        p_R = state.guided_BLV[decoded_BL].double().softmax(-1).gather(-1, ids_R)[:, 0]
        return decoded_BL.double().masked_scatter(decoded_BL, p_R)

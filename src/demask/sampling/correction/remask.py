"""Remasking: mask random decoded tokens again, so that early mistakes can be corrected.

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
    """Remask each decoded token with probability sigma after a step (ReMDM, arXiv 2503.00307).

    The next step unmasks as many more, so the mask schedule still holds. This bounds sigma: with D
    decoded tokens after step k and h masked tokens after step k + 1,

        sigma <= sigma_max = min(1, h / D),

    the paper's (1 - alpha_s) / alpha_t. No token is remasked before the last step.

    Attributes:
        strength: eta; sigma = min(eta, sigma_max) (the paper's capped variant); 0 is off.
        rescale: sigma = eta * sigma_max instead; eta is then at most 1.
        confidence_based: weight sigma by exp(-p), p being the token's probability in this step's
            prediction; the mean of sigma is unchanged (the paper's confidence variant).
        start: skip the steps up to this fraction of the loop, 0 to 1.

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
        """The remasking probability of each decoded token: (B, L), or (B, 1) if all are equal.

        Args:
            state: the state after a step.
            decoded_BL: the decoded positions.
            left_B: number of masked tokens after the next step.
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
        """The probability of each decoded token in this step's prediction, (B, L); 0 elsewhere."""
        assert state.guided_BLV is not None, "a step was made"
        ids_R = state.ids_BL[decoded_BL][:, None]
        p_R = state.guided_BLV[decoded_BL].double().softmax(-1).gather(-1, ids_R)[:, 0]
        return decoded_BL.double().masked_scatter(decoded_BL, p_R)

"""Differential sampling: where a prediction hardly changed, sample from its change.

Shape legend: B batch, L tokens, V codebook, R rows (ranked tokens of all images), S those of them
that are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from demask.registry import unknown
from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.sampling.select.order import SelectionInput
from demask.types import DecodeState


@dataclass(frozen=True)
class Differential(Correction):
    """Replace p by normalise(max(p - q, floor)) where KL(p || q) is low (arXiv 2411.10781).

    p is the distribution of this step and q that of the previous step; the first step has no q and
    is left unchanged. The tokens of an image are ranked by KL(p || q) in ascending order.

    Attributes:
        fraction: the fraction of the ranked tokens to replace; 0.75 as published, 0 is off.
        previous: ``model``: q is the guided prediction of the previous step. ``modified``: q is the
            distribution it sampled from, after all corrections (the authors' program).
        among: which tokens are ranked. ``all`` (the authors' program): decoded tokens have low
            divergence, so fewer and fewer masked ones are replaced. Or only ``masked`` ones.
        floor: lower bound of p - q.

    Raises:
        ValueError: a number out of range, or an unknown value of ``previous`` or ``among``.
    """

    fraction: float = 0.75
    previous: str = "model"
    among: str = "all"
    floor: float = 1e-6
    strength_field: ClassVar[str] = "fraction"

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"the fraction is from 0 (off) to 1, not {self.fraction}")
        if not 0 < self.floor < 1:
            raise ValueError(f"the floor is between 0 and 1, not {self.floor}")
        for option, valid in (("previous", ("model", "modified")), ("among", ("all", "masked"))):
            if getattr(self, option) not in valid:
                raise ValueError(unknown(option, getattr(self, option), valid))

    def required_positions(self, state: DecodeState) -> Tensor:
        if not self.fraction:
            return super().required_positions(state)
        return torch.ones_like(state.known_BL) if self.among == "all" else ~state.known_BL

    def adjust(self, logits_BLV: Tensor, state: DecodeState, context: DecodeContext) -> Tensor:
        past_BLV = state.guided_BLV if self.previous == "model" else state.logits_BLV
        if not self.fraction or past_BLV is None:
            return logits_BLV
        ranked_BL = torch.ones_like(state.known_BL) if self.among == "all" else state.masked_BL
        count_B = (self.fraction * ranked_BL.sum(-1) + 1e-9).floor().long()
        selection = SelectionInput(
            state.step,
            state.ids_BL,
            ranked_BL,
            count_B,
            context.generators,
            context.condition,
            logits_BLV,
        )
        p_RV = selection.logits_RV.softmax(-1)
        q_RV = past_BLV[ranked_BL].to(p_RV).softmax(-1)
        low_BL = selection.top(selection.scatter(-divergence(p_RV, q_RV), 0))
        low_R = low_BL[ranked_BL]
        changed_SV = (p_RV[low_R] - q_RV[low_R]).clamp_min(self.floor)
        replaced_BLV = logits_BLV.clone()
        replaced_BLV[low_BL] = (changed_SV / changed_SV.sum(-1, keepdim=True)).log().to(logits_BLV)
        return replaced_BLV


def divergence(p_RV: Tensor, q_RV: Tensor) -> Tensor:
    """KL(p || q) of each row, (R); infinite where q is 0 and p is not."""
    return torch.where(p_RV > 0, p_RV * (p_RV / q_RV).log(), 0).sum(-1)

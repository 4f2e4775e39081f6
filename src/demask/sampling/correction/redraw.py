"""Redrawing: draw decoded tokens again from each step's prediction.

Shape legend: B batch, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from demask import rng
from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.sampling.select.order import SelectionInput
from demask.types import DecodeState


@dataclass(frozen=True)
class Redraw(Correction):
    """Draw each token that earlier steps decoded again, from the prediction of this step.

    With the order ``confidence`` and probability 1 it is the confidence sampler that Halton-MaskGIT
    has released (arXiv 2503.17076), whose every step writes over all decoded tokens. The paper's
    comparison of the two orders was made with it.

    Attributes:
        probability: of each token; 0 is off.

    Raises:
        ValueError: no probability.
    """

    probability: float = 1.0
    strength_field: ClassVar[str] = "probability"
    may_remask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability is from 0 (off) to 1, not {self.probability}")

    def required_positions(self, state: DecodeState) -> Tensor:
        return state.decoded_BL if self.probability else super().required_positions(state)

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        if not self.probability:
            return state
        assert state.previous is not None, "a step was made"
        again_BL = state.previous.decoded_BL & state.decoded_BL
        if self.probability < 1:
            chance_BL = rng.uniform(context.generators, again_BL.shape[1]).to(again_BL.device)
            again_BL = again_BL & (chance_BL < self.probability)
        drawn_BL = context.draw(
            SelectionInput(
                state.step,
                state.ids_BL,
                again_BL,
                again_BL.sum(-1),
                context.generators,
                context.condition,
                state.logits_BLV,
            )
        )
        return replace(state, ids_BL=torch.where(again_BL, drawn_BL, state.ids_BL))

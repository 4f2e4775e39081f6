"""Zigzag sampling: a guided step, an unguided step back, and the guided step again.

Shape legend: B batch, L tokens, V codebook, R rows (decided tokens of all images).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.sampling.select.order import SelectionInput
from demask.types import DecodeState, Guided


@dataclass(frozen=True)
class Zigzag(Correction):
    """Masked Z-sampling (arXiv 2411.10781).

    After each step but the last, make one unguided prediction. Remask the decoded tokens whose
    maximum probability in it is highest, until the number of masked tokens is one less than before
    the step; then repeat the guided step. T steps cost 3 T - 2 predictions.

    Attributes:
        strength: the fraction of these tokens to remask; 1 as published, 0 is off.
        scale: guidance scale of the step back: 0 is the reference (the unconditional prediction), 1
            the conditional prediction.
        start: skip the steps up to this fraction of the loop, 0 to 1.
        stop: skip the steps after this fraction of the loop.

    Raises:
        ValueError: a number out of range.
    """

    strength: float = 1.0
    scale: float = 0.0
    start: float = 0.0
    stop: float = 1.0
    may_remask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength is from 0 (off) to 1, not {self.strength}")
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"zigzag needs 0 <= start < stop <= 1, not {self.start} to {self.stop}"
            )

    @property
    def needs_guidance(self) -> bool:
        return self.strength > 0

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        step, previous = state.step, state.previous
        inside = self.start < step.progress <= self.stop
        if not self.strength or not inside or step.index + 1 == step.steps:
            return state
        assert isinstance(context.predict, Guided), "the loop checked that there is guidance"
        assert previous is not None, "a step was made"
        gone_B = previous.masked_BL.sum(-1) - state.masked_BL.sum(-1)
        count_B = (self.strength * (gone_B - 1).clamp_min(0)).round().long()
        back = replace(
            step, mask_ratio_B=state.masked_BL.double().mean(-1), rows_BL=state.decoded_BL
        )
        unguided = context.predict.at(self.scale)(state.ids_BL, context.condition, back)
        selection = SelectionInput(
            back,
            state.ids_BL,
            state.decoded_BL,
            count_B,
            context.generators,
            context.condition,
            unguided.logits_BLV,
        )
        sure_R = selection.logits_RV.log_softmax(-1).amax(-1)
        again_BL = selection.top(selection.scatter(sure_R, 0))
        ids_BL = torch.where(again_BL, state.mask_id, state.ids_BL)
        # restart from the step's start state, so that `previous` is the previous step
        return context.unmask(replace(previous, ids_BL=ids_BL), step)

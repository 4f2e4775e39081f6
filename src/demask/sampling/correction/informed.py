"""The informed corrector: resample the decoded tokens of lowest likelihood.

Shape legend: B batch, L tokens, V codebook, R rows (decided tokens of all images).
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
class Informed(Correction):
    """After a step, predict all decoded tokens and resample those of the lowest score.

    arXiv 2407.21243, section 3: the k decoded tokens with the lowest log p_i(z_i) - tau * Gumbel
    are resampled from one prediction. It requires a model that was trained to predict visible
    tokens (``corruption`` in the recipes).

    Attributes:
        strength: k as a fraction of the decoded tokens; 0 is off, 1 resamples all.
        tau: factor of the Gumbel noise in the selection.
        start: skip the steps up to this fraction of the loop, 0 to 1.
        reuse_forward: use the step's own prediction at no extra cost. It was made before the step
            unmasked its tokens, so only tokens decoded earlier are considered.

    Raises:
        ValueError: a number out of range.
    """

    strength: float = 0.1
    tau: float = 1.0
    start: float = 0.0
    reuse_forward: bool = False
    may_remask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength is from 0 (off) to 1, not {self.strength}")
        if not self.tau >= 0:
            raise ValueError(f"tau is 0 or more, not {self.tau}")
        if not 0 <= self.start <= 1:
            raise ValueError(f"the start is from 0 to 1, not {self.start}")

    def required_positions(self, state: DecodeState) -> Tensor:
        return (
            state.decoded_BL
            if self.reuse_forward and self.strength
            else super().required_positions(state)
        )

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        if not self.strength or state.step.progress <= self.start:
            return state
        judged_BL = state.decoded_BL
        if self.reuse_forward:
            judged_BL &= ~state.unmasked_now_BL
        count_B = (self.strength * judged_BL.sum(-1)).round().long()
        # drawn even if unused, so that an image's random stream does not depend on its batch
        gumbel_BL = rng.gumbel(context.generators, judged_BL.shape[1]).to(judged_BL.device)
        if not count_B.any():
            rng.uniform(context.generators, judged_BL.shape[1])
            return state
        queried_BL = judged_BL & (count_B > 0)[:, None]  # other images are not read
        selection = SelectionInput(
            state.step,
            state.ids_BL,
            judged_BL,
            count_B,
            context.generators,
            context.condition,
            state.guided_BLV if self.reuse_forward else self.predicted(state, context, queried_BL),
        )
        drawn_R = selection.ids_BL[judged_BL][:, None]
        log_p_R = selection.logits_RV.log_softmax(-1).gather(-1, drawn_R)[:, 0]
        doubt_BL = self.tau * gumbel_BL - selection.scatter(log_p_R.double(), 0)
        anew_BL = selection.top(doubt_BL)
        drawn_BL = context.draw(replace(selection, candidate_BL=anew_BL))
        return replace(state, ids_BL=torch.where(anew_BL, drawn_BL, state.ids_BL))

    @staticmethod
    def predicted(state: DecodeState, context: DecodeContext, queried_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of one extra forward on the current tokens."""
        ratio_B = state.masked_BL.double().mean(-1)
        step = replace(state.step, mask_ratio_B=ratio_B, rows_BL=queried_BL)
        return context.predict(state.ids_BL, context.condition, step).logits_BLV

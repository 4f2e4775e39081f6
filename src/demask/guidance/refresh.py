"""Guidance whose reference is computed only every few steps.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from demask.guidance.guidance import Guidance
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class Difference:
    """The difference of both passes at the latest refresh.

    Attributes:
        logits_BLV: conditional - reference.
        index: the step of the refresh.
        ids_BL: the tokens at the refresh.
        same_BL: positions whose tokens have not changed since.
    """

    logits_BLV: Tensor
    index: int
    ids_BL: Tensor
    same_BL: Tensor


class Refreshed:
    """A guidance that runs both passes every few steps and reuses their difference in between.

    The idea of CFG-Cache (arXiv 2410.19355, section 3), on logits. Between refreshes,

        l = l_c + (s - 1) (l_c - l_ref of the latest refresh).

    A token that has changed since the refresh uses its conditional logits. Therefore the decode
    loop refuses corrections and orders that remask.

    A refresh computes all rows, since later steps may read any of them. Steps at scale 1 or 0 are
    not affected and do not count.

    The object keeps state: create one per batch of images. The images of a batch do not affect one
    another.

    Args:
        guidance: the guidance to approximate.
        every: steps from one refresh to the next; 1 is the guidance itself.

    Raises:
        ValueError: fewer than 1 step.
    """

    def __init__(self, guidance: Guidance, every: int) -> None:
        if every < 1:
            raise ValueError(f"guidance is refreshed every 1 or more steps, not {every}")
        self.guidance, self.every = guidance, every
        self.latest: Difference | None = None

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The guided prediction."""
        scale = self.guidance.scale(step)
        if scale in (0, 1) or self.every == 1:
            return self.guidance(ids_BL, condition, step)
        latest = self.latest
        if latest is None or self.due(latest, ids_BL, step):
            conditional, guided_BLV = self.refresh(ids_BL, condition, step, scale)
            return Prediction(guided_BLV, conditional.features)
        same_BL = latest.same_BL & (ids_BL == latest.ids_BL)
        self.latest = replace(latest, same_BL=same_BL)
        conditional = self.guidance.predict(ids_BL, condition, step)
        moved_BLV = conditional.logits_BLV + (scale - 1) * latest.logits_BLV
        guided_BLV = moved_BLV.where(same_BL[..., None], conditional.logits_BLV)
        return Prediction(guided_BLV, conditional.features)

    def due(self, latest: Difference, ids_BL: Tensor, step: Step) -> bool:
        """Whether a refresh is due; it depends on step and shape, not on the content."""
        age = step.index - latest.index
        return not 0 < age < self.every or latest.ids_BL.shape != ids_BL.shape

    def refresh(
        self, ids_BL: Tensor, condition: Condition, step: Step, scale: float
    ) -> tuple[Prediction, Tensor]:
        """Run both passes: the conditional prediction, and the guided logits (B, L, V)."""
        everywhere = replace(step, rows_BL=None)
        conditional, reference_BLV = self.guidance.predict_pair(ids_BL, condition, everywhere)
        difference_BLV = conditional.logits_BLV - reference_BLV
        self.latest = Difference(difference_BLV, step.index, ids_BL, torch.ones_like(ids_BL).bool())
        return conditional, reference_BLV + scale * difference_BLV

    def at(self, scale: float) -> Predict:
        """The same guidance at a constant scale, with both passes in every step."""
        return self.guidance.at(scale)

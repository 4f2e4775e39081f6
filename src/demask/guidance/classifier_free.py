"""Classifier-free guidance: away from what the model would paint without a condition.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from demask.guidance.scale import Scale
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class ClassifierFree:
    """l_u + s (l_c - l_u) on the logits (arXiv 2207.12598; on tokens, Muse, arXiv 2301.00704).

    A `Predict` around a `Predict`. Both halves are one batch; a step at scale 1 makes the
    conditional pass alone and one at scale 0 the unconditional pass alone.

    Attributes:
        predict: a model that was trained with its condition dropped now and then.
        unconditional: the condition that stands for none, a batch of 1.
        scale: s in each step.

    Raises:
        ValueError: ``unconditional`` is not a batch of 1.
    """

    predict: Predict
    unconditional: Condition
    scale: Scale

    def __post_init__(self) -> None:
        if len(self.unconditional) != 1:
            raise ValueError(
                f"the unconditional condition is a batch of 1, not of {len(self.unconditional)}"
            )

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        scale = self.scale(step)
        if scale == 1:
            return self.predict(ids_BL, condition, step)
        batch = len(ids_BL)
        nothing = self.unconditional.take(torch.zeros(batch, dtype=torch.long))
        if scale == 0:
            return self.predict(ids_BL, nothing, step)

        both = self.predict(
            torch.cat([ids_BL, ids_BL]), Condition.join([condition, nothing]), twice(step)
        )
        conditional_BLV, reference_BLV = both.logits_BLV.chunk(2)
        features = None if both.features is None else both.features[:batch]
        return Prediction(reference_BLV + scale * (conditional_BLV - reference_BLV), features)


def twice(step: Step) -> Step:
    """The step of a batch that holds every picture twice, one copy after the other."""
    rows_BL = None if step.rows_BL is None else torch.cat([step.rows_BL, step.rows_BL])
    return replace(step, mask_ratio_B=torch.cat([step.mask_ratio_B] * 2), rows_BL=rows_BL)

"""Classifier-free guidance: the reference is the model's unconditional prediction.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from demask.guidance.guidance import Guidance, GuidanceProvider
from demask.guidance.scale import Scale
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """l_u + s (l_c - l_u) on the logits (arXiv 2207.12598; on tokens, Muse, arXiv 2301.00704).

    Both passes form one batch. A step at scale 1 runs only the conditional pass, a step at scale 0
    only the unconditional one.

    Attributes:
        predict: a model that was trained with condition dropout.
        unconditional: the null condition or a negative prompt: a batch of 1, or one per image.
        scale: s in each step.
        batched: run both passes as one batch; False halves the memory and is a little slower.
    """

    predict: Predict
    unconditional: Condition
    scale: Scale
    batched: bool = True
    can_share: ClassVar[bool] = True
    uses_negative_prompt: ClassVar[bool] = True

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        if self.scale(step) == 0:
            return self.predict(ids_BL, self.reference(len(ids_BL)), unconditional(step))
        return super().__call__(ids_BL, condition, step)

    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The conditional prediction, and the reference's logits (B, L, V)."""
        nothing = self.reference(len(ids_BL))
        if not self.batched:
            conditional = self.predict(ids_BL, condition, step)
            return conditional, self.predict(ids_BL, nothing, unconditional(step)).logits_BLV
        both = self.predict(
            torch.cat([ids_BL, ids_BL]), Condition.join([condition, nothing]), twice(step)
        )
        conditional_BLV, reference_BLV = both.logits_BLV.chunk(2)
        features = None if both.features is None else both.features[: len(ids_BL)]
        return Prediction(conditional_BLV, features), reference_BLV

    def reference(self, batch: int) -> Condition:
        """The unconditional condition, expanded to a batch.

        Raises:
            ValueError: it is a batch of neither 1 nor ``batch``.
        """
        count = len(self.unconditional)
        if count not in (1, batch):
            raise ValueError(
                f"the unconditional condition is a batch of 1 or of {batch}, not of {count}"
            )
        if count == batch:
            return self.unconditional
        return self.unconditional.take(torch.zeros(batch, dtype=torch.long))

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The null condition."""
        return {"unconditional": provider.unconditional(), "batched": provider.batched}


def unconditional(step: Step) -> Step:
    """The step, with the pass named ``unconditional``."""
    return replace(step, pass_names=("unconditional",))


def twice(step: Step) -> Step:
    """The step of a batch that holds all images twice: conditional, then unconditional."""
    rows_BL = None if step.rows_BL is None else torch.cat([step.rows_BL, step.rows_BL])
    return replace(
        step,
        mask_ratio_B=torch.cat([step.mask_ratio_B] * 2),
        rows_BL=rows_BL,
        pass_names=("conditional", "unconditional"),
    )

"""Autoguidance: the reference is a weaker model of the same tokens.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from demask.guidance.guidance import Guidance, GuidanceProvider
from demask.guidance.scale import Scale
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class AutoGuidance(Guidance):
    """l_w + s (l - l_w), where l_w is a weaker model's prediction (arXiv 2406.02507, section 3).

    Both models get the same condition, so guidance does not trade diversity for the condition.

    Attributes:
        predict: the model.
        scale: s in each step.
        weaker_model: an earlier checkpoint, or a smaller model.
    """

    predict: Predict
    scale: Scale
    weaker_model: Predict
    can_share: ClassVar[bool] = True
    passes: ClassVar[tuple[str, ...]] = ("predict", "weaker_model")

    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The model's prediction, and the weaker model's logits (B, L, V)."""
        conditional = self.predict(ids_BL, condition, step)
        return conditional, self.weaker_model(ids_BL, condition, step).logits_BLV

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The weaker model, under the same accelerators: they must not make a difference."""
        return {"weaker_model": provider.accelerated(provider.auxiliary("weaker")).predict}

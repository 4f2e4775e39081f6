"""Self-guidance: the reference is a semantically smoothed prediction of the same model.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from demask.guidance.guidance import Guidance, GuidanceProvider
from demask.guidance.scale import Scale
from demask.types import Condition, Predict, Prediction, Step

SmoothedPass = Callable[[Tensor, Condition, Step], Tensor]
"""``(features, condition, step) -> logits_BLV``: the second pass."""


@dataclass(frozen=True)
class SelfGuidance(Guidance):
    """l_s + s (l - l_s), where l_s is a second pass over the features of l.

    arXiv 2410.13136, section 3.2, where it is l + w (l - l_s): s = 1 + w, 2 in the released
    settings. The second pass reuses the features of the first one, so a step costs two forwards.

    Attributes:
        predict: a model whose predictions include their features.
        scale: s in each step.
        smoothed_pass: the second pass, trained beside the frozen model.
    """

    predict: Predict
    scale: Scale
    smoothed_pass: SmoothedPass
    can_share: ClassVar[bool] = True
    passes: ClassVar[tuple[str, ...]] = ("predict", "smoothed_pass")

    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The model's prediction, and the smoothed logits (B, L, V)."""
        conditional = self.predict(ids_BL, condition, step)
        assert conditional.features is not None, "this model keeps its features to itself"
        return conditional, self.smoothed_pass(conditional.features, condition, step)

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The second pass of the model's module, through the accelerated transformer."""
        module = provider.auxiliary("self_guidance")
        return {"smoothed_pass": partial(module.smoothed_logits, provider.transformer)}

"""Self-guidance: away from the model's own, semantically smoothed prediction.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from demask.guidance.guidance import Guidance, GuidanceProvider, SmoothedPass
from demask.guidance.scale import Scale
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class SelfGuidance(Guidance):
    """l_s + s (l - l_s), where l_s is a second pass that sees l's features alone.

    arXiv 2410.13136, section 3.2, which counts l + w (l - l_s): s = 1 + w, 2 in its released
    settings. The second pass takes the features that the first one leaves, so a step costs two
    forwards, never three.

    Attributes:
        predict: a model whose predictions hold their features.
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
        """The model's prediction, and its smoothed one."""
        conditional = self.predict(ids_BL, condition, step)
        assert conditional.features is not None, "this model keeps its features to itself"
        return conditional, self.smoothed_pass(conditional.features, condition, step)

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The second pass of the model's module."""
        return {"smoothed_pass": provider.smoothed_pass()}

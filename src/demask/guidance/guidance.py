"""The base class of guidances, and where they take their reference from.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor

from demask.guidance.scale import Constant, Scale
from demask.types import Condition, Grid, Predict, Prediction, Step

SmoothedPass = Callable[[Tensor, Condition, Step], Tensor]
"""``(features, condition, step) -> logits_BLV``: self-guidance's second pass."""

BlurTokens = Callable[[Tensor, Grid, float], Tensor]
"""``(ids_BL, grid, sigma) -> ids_BL``: blurs the visible tokens of an image."""

PredictWithAttention = Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]
"""A `Predict` that also returns the attention each token receives (B, L), 1 on average."""


def no_blur() -> BlurTokens:
    """Raise a ValueError: there is no tokenizer."""
    raise ValueError("there is no tokenizer whose tokens could be blurred")


@dataclass(frozen=True)
class GuidanceProvider:
    """Where a guidance takes its reference from.

    The fields are functions, so that only what the selected guidance needs is loaded; each raises a
    ValueError if the model lacks it.

    Attributes:
        unconditional: the null condition, or a negative prompt.
        smoothed_pass: the second pass of the model's self-guidance module.
        weaker_model: a weaker model for the same tokenizer.
        blur: blurs tokens.
        predict_with_attention: the model's prediction with the attention that tokens receive; None
            if the model does not return it.
        batched: two passes may form one batch; False halves the memory.
    """

    unconditional: Callable[[], Condition]
    smoothed_pass: Callable[[], SmoothedPass]
    weaker_model: Callable[[], Predict]
    blur: Callable[[], BlurTokens] = no_blur
    predict_with_attention: Callable[[], PredictWithAttention | None] = lambda: None
    batched: bool = True


class Guidance(ABC):
    """Base class: a `Predict` that returns reference + s * (conditional - reference) of the logits.

    A guidance is a frozen dataclass in its own file and a row of `GUIDANCES`. A step at scale 1
    runs only the model, without a reference.

    Attributes:
        predict: the model.
        scale: s in each step.
    """

    predict: Predict
    scale: Scale

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        scale = self.scale(step)
        if scale == 1:
            return self.predict(ids_BL, condition, step)
        conditional, reference_BLV = self.predict_pair(ids_BL, condition, step)
        guided_BLV = reference_BLV + scale * (conditional.logits_BLV - reference_BLV)
        return Prediction(guided_BLV, conditional.features)

    def at(self, scale: float) -> Predict:
        """A copy with a constant scale."""
        guidance: Predict = replace(cast(Any, self), scale=Constant(scale))
        return guidance

    @abstractmethod
    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The conditional prediction, and the reference's logits (B, L, V)."""

    @classmethod
    @abstractmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The constructor arguments that come from the model, except ``predict`` and ``scale``.

        Raises:
            ValueError: the model lacks what this guidance needs.
        """

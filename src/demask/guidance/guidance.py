"""What all guidances share: away from a reference, by the scale of the step.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from torch import Tensor

from demask.guidance.scale import Constant, Scale
from demask.types import Condition, Grid, Predict, Prediction, Step

SmoothedPass = Callable[[Tensor, Condition, Step], Tensor]
"""``(features, condition, step) -> logits_BLV``: self-guidance's second pass."""

BlurTokens = Callable[[Tensor, Grid, float], Tensor]
"""``(ids_BL, grid, sigma) -> ids_BL``: the visible tokens of a blurred image."""

PredictWithAttention = Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]
"""A `Predict` that also says how much attention each token received (B, L), 1 on average."""


def no_blur() -> BlurTokens:
    """Raise a ValueError: there is no tokenizer."""
    raise ValueError("there is no tokenizer whose tokens could be blurred")


@dataclass(frozen=True)
class GuidanceProvider:
    """What a guidance may take its reference from.

    All are calls, so that a model is asked only for what the chosen guidance needs; each raises a
    ValueError where the model has no such thing.

    Attributes:
        unconditional: the condition that stands for none, or a negative prompt.
        smoothed_pass: the second pass of the model's self-guidance module.
        weaker_model: a weaker model of the same tokens.
        blur: blurs tokens.
        predict_with_attention: the model's prediction with its attention; None where it does not
            tell.
        batched: two passes may be made as one batch; False halves the memory.
    """

    unconditional: Callable[[], Condition]
    smoothed_pass: Callable[[], SmoothedPass]
    weaker_model: Callable[[], Predict]
    blur: Callable[[], BlurTokens] = no_blur
    predict_with_attention: Callable[[], PredictWithAttention | None] = lambda: None
    batched: bool = True


class Guidance(ABC):
    """A `Predict` around a `Predict`: reference + s * (conditional - reference) on the logits.

    A frozen dataclass in a file of its own and a row of the table. A step at scale 1 asks the
    model alone, and costs no reference.

    Attributes:
        predict: the model.
        scale: s in each step.
        can_share: images of several requests may share a batch under this guidance, since an
            error of at most e in both predictions changes the guided logits by at most
            (|s| + |1 - s|) e; no decision depends on the predictions.
        passes: the fields that hold a pass through a network, to be counted or wrapped.
    """

    predict: Predict
    scale: Scale
    can_share: ClassVar[bool] = False
    passes: ClassVar[tuple[str, ...]] = ("predict",)

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        scale = self.scale(step)
        if scale == 1:
            return self.predict(ids_BL, condition, step)
        conditional, reference_BLV = self.predict_pair(ids_BL, condition, step)
        guided_BLV = reference_BLV + scale * (conditional.logits_BLV - reference_BLV)
        return Prediction(guided_BLV, conditional.features)

    def at(self, scale: float) -> Predict:
        """The same guidance at one scale in every step."""
        guidance: Predict = replace(cast(Any, self), scale=Constant(scale))
        return guidance

    def with_passes(self, wrap: Callable[[Any], Any]) -> Guidance:
        """The same guidance with ``wrap`` around each pass through a network."""
        found = {name: getattr(self, name) for name in self.passes}
        wrapped = {name: wrap(each) for name, each in found.items() if each is not None}
        guidance: Guidance = replace(cast(Any, self), **wrapped)
        return guidance

    @abstractmethod
    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The conditional prediction, and the reference's logits (B, L, V)."""

    @classmethod
    @abstractmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The arguments that come from the model, beside ``predict`` and ``scale``.

        Raises:
            ValueError: the model lacks what this guidance needs.
        """

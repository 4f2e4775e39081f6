"""The base class of guidances, and where they take their reference from.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Protocol, cast

from torch import Tensor

from demask.guidance.scale import Constant, Scale
from demask.layouts import ANY_LAYOUT, Layouts
from demask.types import Condition, Predict, Prediction, Step, Tokenizer, Transformer

PredictWithAttention = Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]
"""A `Predict` that also returns the attention each token receives (B, L), 1 on average."""


class GuidanceProvider(Protocol):
    """The model that a guidance takes its reference from; see `Guidance.from_provider`.

    A guidance asks only for what it needs, so that a model without the rest can be guided.
    """

    @property
    def transformer(self) -> Transformer:
        """The transformer that is guided, under the accelerators of the settings."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model."""
        ...

    @property
    def batched(self) -> bool:
        """Two passes may be made as one batch; False halves the memory."""
        ...

    def unconditional(self) -> Condition:
        """The condition of any class or of the negative prompt, a batch of 1.

        Raises:
            ValueError: the model was trained without dropping its condition.
        """
        ...

    def auxiliary(self, kind: str) -> Any:
        """The network of a kind beside the model: a row of `demask.auxiliary.AUXILIARY`.

        Raises:
            ValueError: the model has none, or its file is broken or belongs to another model.
        """
        ...

    def accelerated(self, network: Transformer) -> Transformer:
        """Another transformer under the accelerators of the settings.

        Raises:
            ValueError: an accelerator was trained for the model itself.
        """
        ...

    def predict_with_attention(self) -> PredictWithAttention | None:
        """The model's prediction with its attention; None where the model does not report it."""
        ...


class Guidance(ABC):
    """Base class: a `Predict` that returns reference + s * (conditional - reference) of the logits.

    A guidance is a frozen dataclass in its own file and a row of `GUIDANCES`. A step at scale 1
    runs only the model, without a reference.

    Attributes:
        predict: the model.
        scale: s in each step.
        can_share: images of several requests may share a batch under this guidance, since an
            error of at most e in both predictions changes the guided logits by at most
            (|s| + |1 - s|) e; no decision depends on the predictions.
        uses_negative_prompt: the reference is the prediction for the negative prompt.
        layouts: the token layouts that it serves; checked before any work, see `check_layout`.
        passes: the fields that hold a pass through a network, to be counted or wrapped.
    """

    predict: Predict
    scale: Scale
    can_share: ClassVar[bool] = False
    uses_negative_prompt: ClassVar[bool] = False
    layouts: ClassVar[Layouts] = ANY_LAYOUT
    passes: ClassVar[tuple[str, ...]] = ("predict",)

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
        """The constructor arguments that come from the model, except ``predict`` and ``scale``.

        Raises:
            ValueError: the model lacks what this guidance needs.
        """

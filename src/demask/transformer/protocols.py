"""What a transformer may support beside `demask.types.Transformer`: a protocol for each capability.

A model supports a capability by having the methods of its protocol. Code that needs one asks
`supports`, after which the type checker knows the methods.

Shape legend: B batch, D width, L tokens, N tokens of the image, S sequence, V codebook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

from demask.types import Condition, Grid, Prediction, Step, TokenLayout

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from demask.transformer.condition import PromptReading

C = TypeVar("C")


class SupportsPredict(Protocol):
    """A transformer: every network that predicts tokens."""

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """See `demask.types.Transformer`."""
        ...


class SupportsPrompts(Protocol):
    """A model of prompts: its condition comes from a text encoder."""

    def context(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The states of the prompt and the pooled vector that modulates the blocks."""
        ...


class SupportsPromptReading(Protocol):
    """A model of prompts that reads them in a way of its own."""

    def prompt_reading(self) -> PromptReading:
        """How it reads them."""
        ...


class SupportsUnconditional(Protocol):
    """A model of classes that was trained with class dropout, which guidance needs."""

    def unconditional(self) -> Condition:
        """The condition of any class, a batch of 1."""
        ...


class SupportsAttention(Protocol):
    """A model that reports its attention; spatial guidance uses it."""

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The prediction, and the attention that each token receives (B, L), 1 on average."""
        ...


class SupportsPreLogits(Protocol):
    """A model whose output layer is a matrix; batched decoding guides before it."""

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """The input of the output matrix (B, L, D)."""
        ...

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """The output matrix and its bias: logits (B, L, V)."""
        ...


class SupportsShortcut(Protocol):
    """A model beside which a shortcut can be trained; it has one of the heads below."""

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The input of the first block (B, N, D), of the image's tokens alone."""
        ...


class SupportsHead(Protocol):
    """A model whose head reads the last hidden states alone."""

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head: logits (B, L, V), or of the whole vocabulary, as trained."""
        ...


class SupportsConditionedHead(Protocol):
    """A model whose head reads the condition, too; its vocabulary is the codebook."""

    def apply_conditioned_head(
        self,
        features_BND: Tensor,
        condition: Condition,
        layout: TokenLayout,
        *,
        blank: bool = False,
    ) -> Tensor:
        """The head: logits (B, L, V); ``blank`` drops the condition."""
        ...


def supports(model: object, capability: type[C]) -> TypeIs[C]:
    """Whether a model has all methods of a protocol of this module.

    Unlike `isinstance`, it sees methods to which a wrapper delegates, in every version of Python.
    """
    methods = [name for name, value in vars(capability).items() if callable(value)]
    return all(hasattr(model, name) for name in methods if not name.startswith("_"))


def apply_head(
    model: object,
    features_BSD: Tensor,
    condition: Condition,
    layout: TokenLayout,
    *,
    vocabulary: bool = False,
    blank: bool = False,
) -> Tensor:
    """The logits of a model's last hidden states, whichever of the two heads it has.

    Args:
        model: has the methods of `SupportsHead` or `SupportsConditionedHead`.
        features_BSD: the last hidden states.
        condition: of the pass that made them.
        layout: of the tokens.
        vocabulary: logits of the whole vocabulary, as trained.
        blank: whether the pass dropped the condition.
    """
    if supports(model, SupportsConditionedHead):
        return model.apply_conditioned_head(features_BSD, condition, layout, blank=blank)
    assert supports(model, SupportsHead), f"{type(model).__name__} has no head of its own"
    return model.apply_head(features_BSD, layout, vocabulary=vocabulary)

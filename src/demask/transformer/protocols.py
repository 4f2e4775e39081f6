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
    """A model beside which a shortcut can be trained."""

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The input of the first block (B, N, D), of the image's tokens alone."""
        ...

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head: logits (B, L, V), or of the whole vocabulary, as trained."""
        ...


def supports(model: object, capability: type[C]) -> TypeIs[C]:
    """Whether a model has all methods of a protocol of this module.

    Unlike `isinstance`, it sees methods to which a wrapper delegates, in every version of Python.
    """
    methods = [name for name, value in vars(capability).items() if callable(value)]
    return all(hasattr(model, name) for name in methods if not name.startswith("_"))

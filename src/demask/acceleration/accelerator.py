"""The base class of accelerators, and transformers with hooks.

Shape legend: B batch, L ids, V codebook.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from demask.layouts import ANY_LAYOUT, Layouts
from demask.transformer.hooks import HookableTransformer, PassHooks
from demask.types import Condition, Prediction, Step, Transformer


class Accelerator(ABC):
    """Base class. An accelerator is a frozen dataclass in its own file and a row of `ACCELERATORS`.

    It holds no state. State that lasts over the steps belongs to the transformer that `around`
    returns, one per batch of images.

    Attributes:
        aux_kind: the kind of auxiliary network that it needs, or None.
        layouts: the token layouts that it serves; checked before any work, see `check_layout`.
    """

    aux_kind: ClassVar[str | None] = None
    layouts: ClassVar[Layouts] = ANY_LAYOUT

    def attach(self, network: nn.Module) -> Accelerator:
        """A copy of this accelerator with the network of kind ``aux_kind``."""
        raise NotImplementedError

    @abstractmethod
    def around(self, transformer: Transformer) -> Transformer:
        """Wrap a transformer; the result has the same interface.

        With all options off, it is the transformer itself.

        Raises:
            ValueError: the transformer lacks what this accelerator needs.
        """


@dataclass(frozen=True)
class WrappedTransformer:
    """A transformer that delegates to another one.

    Attributes:
        base: the accelerated transformer.
    """

    base: HookableTransformer

    def __getattr__(self, name: str) -> Any:
        # sizes, head, and whatever a guidance plug-in needs
        return getattr(self.base, name)


@dataclass(frozen=True)
class HookedTransformer(WrappedTransformer):
    """A transformer that runs every pass with an accelerator's hooks.

    Attributes:
        hooks: makes the hooks of one pass in a step.
    """

    hooks: Callable[[Step], PassHooks]

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The base's prediction, with hooks."""
        return self.base.predict(ids_BL, condition, step, self.hooks(step))

    @property
    def predict_with_attention(
        self,
    ) -> Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]:
        """The base's method, with hooks; an AttributeError if the base has none."""
        base = self.base.predict_with_attention
        return lambda ids_BL, condition, step: base(ids_BL, condition, step, self.hooks(step))

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass."""
        return self.base.second_pass(extra_values, condition, step, blank, self.hooks(step))


def add_hooks(
    transformer: Transformer, hooks: Callable[[Step], PassHooks], name: str
) -> Transformer:
    """Run a transformer with an accelerator's hooks.

    Args:
        transformer: not modified.
        hooks: called once per pass.
        name: name of the accelerator, for messages.

    Raises:
        ValueError: the transformer has no block hooks, or they are already in use.
    """
    return HookedTransformer(hookable(transformer, name), hooks)


def hookable(transformer: Transformer, name: str) -> HookableTransformer:
    """Check that a transformer exposes block hooks and is not already hooked.

    Raises:
        ValueError: it has no block hooks, or they are already in use.
    """
    if isinstance(transformer, WrappedTransformer):
        raise ValueError(f"{name} cannot look into blocks that another accelerator looks into")
    if "hooks" not in inspect.signature(transformer.predict).parameters:
        raise ValueError(
            f"{name} does not work with {type(transformer).__name__}, whose blocks have no hooks"
        )
    return cast(HookableTransformer, transformer)

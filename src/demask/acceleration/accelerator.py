"""What an accelerator is: a transformer around a transformer, faster and nearly the same.

Shape legend: B batch, L ids, V codebook.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from demask.transformer.hooks import HookableTransformer, PassHooks
from demask.types import Condition, Prediction, Step, Transformer


class Accelerator(ABC):
    """A frozen dataclass in a file of its own and a row of the table; strength 0 is the identity.

    It holds no state: what has to last over the steps belongs to the transformer that `around`
    returns, which is made anew for every batch of images.

    Attributes:
        aux_kind: the kind of network beside the model that it needs, or None.
    """

    aux_kind: ClassVar[str | None] = None

    def attach(self, network: nn.Module) -> Accelerator:
        """This accelerator with the network that ``aux_kind`` names."""
        raise NotImplementedError

    @abstractmethod
    def around(self, transformer: Transformer) -> Transformer:
        """The same transformer, faster.

        Guidances ask it for all that they would ask the transformer itself.

        Raises:
            ValueError: the transformer does not offer what this accelerator needs.
        """


@dataclass(frozen=True)
class WrappedTransformer:
    """A transformer in whose passes an accelerator is.

    Attributes:
        base: offers `demask.transformer.hooks.HookableTransformer`.
    """

    base: HookableTransformer

    def __getattr__(self, name: str) -> Any:
        # its sizes, its head, and what a plug-in's guidance may ask for
        return getattr(self.base, name)


@dataclass(frozen=True)
class HookedTransformer(WrappedTransformer):
    """A transformer whose every pass is made under an accelerator's hooks.

    Attributes:
        hooks: what happens inside the blocks of one pass of a step.
    """

    hooks: Callable[[Step], PassHooks]

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The ordinary pass."""
        return self.base.predict(ids_BL, condition, step, self.hooks(step))

    @property
    def predict_with_attention(
        self,
    ) -> Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]:
        """The ordinary pass, with its attention; an AttributeError where the base has none."""
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
    """Put an accelerator's hooks into a transformer's passes.

    Args:
        transformer: is not changed.
        hooks: called once a pass.
        name: of the accelerator, for messages.

    Raises:
        ValueError: the transformer offers no hooks, or another accelerator is in it already.
    """
    return HookedTransformer(hookable(transformer, name), hooks)


def hookable(transformer: Transformer, name: str) -> HookableTransformer:
    """The same transformer, which is found to offer hooks that nothing else uses.

    Raises:
        ValueError: it offers none, or another accelerator is in it already.
    """
    if isinstance(transformer, WrappedTransformer):
        raise ValueError(f"{name} cannot look into blocks that another accelerator looks into")
    if "hooks" not in inspect.signature(transformer.predict).parameters:
        raise ValueError(
            f"{name} does not work with {type(transformer).__name__}, whose blocks have no hooks"
        )
    return cast(HookableTransformer, transformer)

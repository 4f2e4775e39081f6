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

from demask.transformer.seam import Seamed, Seams
from demask.types import Condition, Prediction, Step, Transformer


class Accelerator(ABC):
    """A frozen dataclass in a file of its own and a row of the table; strength 0 is the identity.

    It holds no state: what has to last over the steps belongs to the transformer that `around`
    returns, which is made anew for every batch of pictures.

    Attributes:
        companion: the kind of network beside the model that it needs, or None.
    """

    companion: ClassVar[str | None] = None

    def beside(self, network: nn.Module) -> Accelerator:
        """This accelerator with the network that ``companion`` names."""
        raise NotImplementedError

    @abstractmethod
    def around(self, transformer: Transformer) -> Transformer:
        """The same transformer, faster.

        Guidances ask it for all that they would ask the transformer itself.

        Raises:
            ValueError: the transformer does not offer what this accelerator needs.
        """


@dataclass(frozen=True)
class Inside:
    """A transformer in whose passes an accelerator is.

    Attributes:
        base: offers `demask.transformer.seam.Seamed`.
    """

    base: Seamed

    def __getattr__(self, name: str) -> Any:
        # its sizes, its head, and what a plug-in's guidance may ask for
        return getattr(self.base, name)


@dataclass(frozen=True)
class LookedInto(Inside):
    """A transformer whose every pass is made under an accelerator's seams.

    Attributes:
        seams: what happens inside the blocks of one pass of a step.
    """

    seams: Callable[[Step], Seams]

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The ordinary pass."""
        return self.base.predict(ids_BL, condition, step, self.seams(step))

    @property
    def attended(self) -> Callable[[Tensor, Condition, Step], tuple[Prediction, Tensor]]:
        """The ordinary pass, with its attention; an AttributeError where the base has none."""
        base = self.base.attended
        return lambda ids_BL, condition, step: base(ids_BL, condition, step, self.seams(step))

    def second_pass(
        self, extra_values: Sequence[Tensor], condition: Condition, step: Step, blank: bool
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass."""
        return self.base.second_pass(extra_values, condition, step, blank, self.seams(step))


def look_into(transformer: Transformer, seams: Callable[[Step], Seams], name: str) -> Transformer:
    """Put an accelerator's seams into a transformer's passes.

    Args:
        transformer: is not changed.
        seams: called once a pass.
        name: of the accelerator, for messages.

    Raises:
        ValueError: the transformer offers no seam, or another accelerator is in it already.
    """
    return LookedInto(seamed(transformer, name), seams)


def seamed(transformer: Transformer, name: str) -> Seamed:
    """The same transformer, which is found to offer a seam that nobody else uses.

    Raises:
        ValueError: it offers none, or another accelerator is in it already.
    """
    if isinstance(transformer, Inside):
        raise ValueError(f"{name} cannot look into blocks that another accelerator looks into")
    if "seams" not in inspect.signature(transformer.predict).parameters:
        raise ValueError(
            f"{name} does not work with {type(transformer).__name__}, whose blocks have no seam"
        )
    return cast(Seamed, transformer)

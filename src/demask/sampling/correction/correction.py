"""The base class of corrections; every method is a no-op by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from demask.types import Guided

if TYPE_CHECKING:
    from demask.sampling.decode import Sampler, Stepper
    from demask.sampling.select import Order
    from demask.types import DecodeState, Predict


class Correction:
    """Base class. A correction is a frozen dataclass in its own file and a row of `CORRECTIONS`.

    Attributes:
        strength_field: name of the option that sets the strength; 0 is the exact identity.
        may_remask: whether it may change or mask decoded tokens; known tokens never change.
    """

    strength_field: ClassVar[str] = "strength"
    may_remask: ClassVar[bool] = False

    @property
    def needs_guidance(self) -> bool:
        """Whether it evaluates the model at another guidance scale and so requires guidance."""
        return False

    def required_positions(self, state: DecodeState) -> Tensor:
        """Positions whose logits it reads in addition to those that the step samples, (B, L).

        ``state`` is the state before the step.
        """
        return torch.zeros_like(state.known_BL)

    def adjust(self, logits_BLV: Tensor, state: DecodeState, stepper: Stepper) -> Tensor:
        """The logits to sample from, (B, L, V).

        ``state`` holds the tokens before this step. Its ``logits_BLV``, ``guided_BLV`` and
        ``queried_BL`` are those of the previous step; its ``step`` is the current step.
        """
        return logits_BLV

    def revise(self, state: DecodeState, stepper: Stepper) -> DecodeState:
        """The state to continue with after this step; ``stepper`` can predict and step again.

        ``state.previous`` is the state before the step.
        """
        return state


def check_guidance(sampler: Sampler, predict: Predict) -> None:
    """Raise a ValueError for a sampler that does not work with the guidance.

    Some corrections require guidance. Guidance that is refreshed less often than every step cannot
    be combined with remasking: its stored difference is invalid for remasked tokens.
    """
    for correction in sampler.corrections:
        if correction.needs_guidance and not isinstance(predict, Guided):
            name = type(correction).__name__.lower()
            raise ValueError(f"{name} needs guidance: choose a scale other than 1")
    every = getattr(predict, "every", 1)
    parts: list[Order | Correction] = [sampler.order, *sampler.corrections]
    for part in parts:
        if every > 1 and part.may_remask:
            name = type(part).__name__.lower()
            raise ValueError(
                f"{name} changes decided tokens: set guidance_refresh to 1, not {every}"
            )

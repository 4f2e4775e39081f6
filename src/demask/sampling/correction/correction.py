"""What a correction may do; each hook defaults to doing nothing."""

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
    """A frozen dataclass in a file of its own and a row of the table.

    Attributes:
        strength_field: the option that says how strongly it corrects; 0 is the exact identity.
        may_remask: it may change or mask tokens that are decided already (never the user's).
    """

    strength_field: ClassVar[str] = "strength"
    may_remask: ClassVar[bool] = False

    @property
    def needs_guidance(self) -> bool:
        """Whether it asks the model at another scale of guidance, so that there must be one."""
        return False

    def required_positions(self, state: DecodeState) -> Tensor:
        """Where it reads a step's prediction beside what the step draws, a mask (B, L).

        ``state`` is the one before the step.
        """
        return torch.zeros_like(state.known_BL)

    def adjust(self, logits_BLV: Tensor, state: DecodeState, stepper: Stepper) -> Tensor:
        """The distribution to sample from.

        ``state`` holds the tokens before this step, and of the step before its distribution
        (``state.logits_BLV``), its prediction before any correction (``state.guided_BLV``) and the
        positions that were masked then (``state.queried_BL``); ``state.step`` is this step.
        """
        return logits_BLV

    def revise(self, state: DecodeState, stepper: Stepper) -> DecodeState:
        """The state after this step; ``stepper`` can predict and step again.

        ``state.before`` is where the step began.
        """
        return state


def check_guidance(sampler: Sampler, predict: Predict) -> None:
    """Raise a ValueError where a sampler and the guidance do not go together.

    A correction may need guidance where there is none. Guidance that is not refreshed in every
    step does not know what to make of tokens that are masked again.
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

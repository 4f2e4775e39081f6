"""The base class of corrections; every method is a no-op by default.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from demask.layouts import ANY_LAYOUT, Layouts
from demask.sampling.context import DecodeContext
from demask.types import DecodeState


class Correction:
    """A frozen dataclass in a file of its own, and a row of `CORRECTIONS`.

    Attributes:
        strength_field: the option that holds the strength; at 0 the correction is exactly the
            identity.
        may_remask: the correction may change or mask decoded tokens; known ones never change.
        can_share: images of several requests may share a batch under this correction. That
            requires that `adjust` is not overridden and that `revise` reads only an image's own
            tokens, masks and random generator; logits of a batch differ from those of a single
            image by rounding.
        layouts: the token layouts that it serves; checked before any work, see `check_layout`.
    """

    strength_field: ClassVar[str] = "strength"
    may_remask: ClassVar[bool] = False
    can_share: ClassVar[bool] = False
    layouts: ClassVar[Layouts] = ANY_LAYOUT

    @property
    def needs_guidance(self) -> bool:
        """Whether the correction calls the guidance at another scale, so that one must be set."""
        return False

    def required_positions(self, state: DecodeState) -> Tensor:
        """The positions whose logits the correction reads, a mask (B, L).

        The positions that are drawn are added by the loop. ``state`` is the one before the step.
        """
        return torch.zeros_like(state.known_BL)

    def adjust(self, logits_BLV: Tensor, state: DecodeState, context: DecodeContext) -> Tensor:
        """The logits to draw from (B, L, V); the input is not modified.

        Args:
            logits_BLV: the guided prediction, after the corrections before this one.
            state: the tokens before this step, with ``state.step`` of this step. Its
                ``logits_BLV``, ``guided_BLV`` (before any correction) and ``queried_BL`` (the
                positions that were masked) are those of the previous step.
            context: the running decode.
        """
        return logits_BLV

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        """The state after a step, changed by this correction.

        Args:
            state: the result of the step; ``state.previous`` is the state that it started from.
            context: the running decode, which can predict and repeat the step.
        """
        return state

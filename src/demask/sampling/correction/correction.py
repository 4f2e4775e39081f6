"""What a correction may do; each hook defaults to doing nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from demask.sampling.decode import Painter
    from demask.types import DecodeState


class Correction:
    """A frozen dataclass in a file of its own and a row of the table; strength 0 is the identity.

    Attributes:
        revises: it may change or hide tokens that are decided already (never the user's).
    """

    revises: ClassVar[bool] = False

    @property
    def reads_decided(self) -> bool:
        """Whether it reads a step's prediction at tokens that were decided before."""
        return False

    def adjust(self, logits_BLV: Tensor, state: DecodeState, painter: Painter) -> Tensor:
        """The distribution to sample from.

        ``state`` holds the tokens before this step and the previous distribution
        (``state.logits_BLV``); ``state.step`` is this step.
        """
        return logits_BLV

    def revise(self, state: DecodeState, painter: Painter) -> DecodeState:
        """The state after this step; ``painter`` can predict and step again."""
        return state

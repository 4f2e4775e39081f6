"""What a correction sees of the decode loop.

Shape legend: B batch, L tokens, T steps.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from demask.rng import Generators
from demask.sampling.select.order import SelectionInput
from demask.types import Condition, DecodeState, Predict, Step


class DecodeContext(Protocol):
    """The running decode, as a correction may use it; `demask.sampling.stepper.Stepper` is one."""

    @property
    def predict(self) -> Predict:
        """The guided model."""
        ...

    @property
    def condition(self) -> Condition:
        """What each image should show."""
        ...

    @property
    def generators(self) -> Generators:
        """One random generator per image."""
        ...

    @property
    def num_masked_BT(self) -> Tensor:
        """The number of tokens that the schedule leaves masked after each step (B, T)."""
        ...

    def unmask(self, state: DecodeState, step: Step) -> DecodeState:
        """Predict, select and draw once more, without the corrections' `revise`."""
        ...

    def draw(self, selection: SelectionInput) -> Tensor:
        """One code for each candidate position (B, L); 0 elsewhere."""
        ...

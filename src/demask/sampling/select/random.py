"""The random order, a baseline for the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from demask import rng
from demask.sampling.select.order import Order, SelectionInput


@dataclass(frozen=True)
class Random(Order):
    """Positions uniformly at random."""

    stage: ClassVar[Literal["positions"]] = "positions"
    unbiased: ClassVar[bool] = True
    can_share: ClassVar[bool] = True

    def __call__(self, selection: SelectionInput) -> Tensor:
        return selection.top(
            rng.uniform(selection.generators, selection.candidate_BL.shape[1]).to(
                selection.candidate_BL.device
            )
        )

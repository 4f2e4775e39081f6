"""The random order: what every cleverer one has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from demask import rng
from demask.sampling.select.order import Look, Order


@dataclass(frozen=True)
class Random(Order):
    """Positions uniformly at random."""

    looks_at: ClassVar[Literal["positions"]] = "positions"
    unbiased: ClassVar[bool] = True

    def __call__(self, look: Look) -> Tensor:
        return look.top(rng.uniform(look.generators, look.open_BL.shape[1]).to(look.open_BL.device))

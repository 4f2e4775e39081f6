"""MaskGIT's order: the most confident draws first, loosened by Gumbel noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from demask.sampling.select.order import Look, Order
from demask.sampling.temperature import Temperature


@dataclass(frozen=True)
class Confidence(Order):
    """Score = log p(drawn code) + tau_k * Gumbel (arXiv 2202.04200, section 3.2).

    Attributes:
        noise: tau_k, the choice temperature; published: 4.5 with ``linear`` decay.
    """

    noise: Temperature = field(default_factory=lambda: Temperature(4.5, "linear"))
    looks_at: ClassVar[Literal["draw"]] = "draw"
    unbiased: ClassVar[bool] = False

    def __call__(self, look: Look) -> Tensor:
        drawn_R = look.ids_BL[look.open_BL]
        log_p_R = look.logits_RV.log_softmax(-1).gather(-1, drawn_R[:, None])[:, 0]
        return look.top(look.spread(log_p_R, 0), self.noise.at(look.step))

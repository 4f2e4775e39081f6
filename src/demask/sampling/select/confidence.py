"""MaskGIT's order: the samples of highest probability first, randomised by Gumbel noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from demask.sampling.select.order import Order, SelectionInput
from demask.sampling.temperature import Temperature


@dataclass(frozen=True)
class Confidence(Order):
    """Score = log p(drawn code) + tau_k * Gumbel (arXiv 2202.04200, section 3.2).

    Attributes:
        choice_temperature: tau_k; published: 4.5 with ``linear`` decay.
    """

    choice_temperature: Temperature = field(default_factory=lambda: Temperature(4.5, "linear"))
    stage: ClassVar[Literal["draw"]] = "draw"
    unbiased: ClassVar[bool] = False
    can_share: ClassVar[bool] = True

    def __call__(self, selection: SelectionInput) -> Tensor:
        drawn_R = selection.ids_BL[selection.candidate_BL]
        log_p_R = self.code_scores(selection.logits_RV).gather(-1, drawn_R[:, None])[:, 0]
        return self.select_by_score(selection, log_p_R)

    def select_by_score(self, selection: SelectionInput, score_R: Tensor) -> Tensor:
        return selection.top(
            selection.scatter(score_R, 0), self.choice_temperature.at(selection.step)
        )

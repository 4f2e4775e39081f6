"""TiTok's order: the draws of the largest logits first, randomised by Gumbel noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from demask.sampling.select.order import Order, SelectionInput
from demask.sampling.temperature import Temperature


@dataclass(frozen=True)
class Logit(Order):
    """Score = logit of the drawn code + tau_k * Gumbel (TiTok, arXiv 2406.07550, its program).

    Unlike `Confidence`, it does not normalise: a position whose logits are all large comes first.
    The published noise of TiTok and MaskGen is calibrated to this score.

    Attributes:
        choice_temperature: tau_k; published: 9.5 for 32 tokens, with ``annealed_linear`` decay.
    """

    choice_temperature: Temperature = field(default_factory=lambda: Temperature(9.5, "linear"))
    stage: ClassVar[Literal["draw"]] = "draw"
    unbiased: ClassVar[bool] = False
    can_share: ClassVar[bool] = True

    def __call__(self, selection: SelectionInput) -> Tensor:
        drawn_R = selection.ids_BL[selection.candidate_BL]
        logit_R = selection.logits_RV.gather(-1, drawn_R[:, None])[:, 0]
        return self.select_by_score(selection, logit_R)

    def code_scores(self, logits_RV: Tensor) -> Tensor:
        return logits_RV

    def select_by_score(self, selection: SelectionInput, score_R: Tensor) -> Tensor:
        return selection.top(
            selection.scatter(score_R, 0), self.choice_temperature.at(selection.step)
        )

"""The margin order: tokens with the largest gap between the two best codes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from demask.sampling.select.order import Order, SelectionInput


@dataclass(frozen=True)
class Margin(Order):
    """Score = p1 - p2, the two highest probabilities of a token (arXiv 2502.06768)."""

    stage: ClassVar[Literal["prediction"]] = "prediction"
    unbiased: ClassVar[bool] = True

    def __call__(self, selection: SelectionInput) -> Tensor:
        best_R2 = selection.logits_RV.softmax(-1).topk(2).values
        return selection.top(selection.scatter(best_R2[:, 0] - best_R2[:, 1], 0))

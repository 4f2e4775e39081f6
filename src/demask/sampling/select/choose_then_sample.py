"""Moment sampler: positions are selected before tokens are sampled, so no sample is discarded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from demask.sampling.select.order import Order, SelectionInput


@dataclass(frozen=True)
class ChooseThenSample(Order):
    """The moment sampler (arXiv 2510.04525).

    The limit of MaskGIT with choice temperature ``alpha`` for many masked tokens: positions are
    selected by Gumbel-top-k on log sum_x p(x)^(1 + 1/alpha), codes sampled from p^(1 + 1/alpha).

    Attributes:
        alpha: MaskGIT's choice temperature. A higher alpha flattens p; infinity is the random
            order.

    Raises:
        ValueError: alpha is not positive.
    """

    alpha: float = 4.5
    stage: ClassVar[Literal["prediction"]] = "prediction"
    unbiased: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is above 0, not {self.alpha}")

    def __call__(self, selection: SelectionInput) -> Tensor:
        moment_R = self.transform_logits(selection.logits_RV.log_softmax(-1)).logsumexp(-1)
        return selection.top(selection.scatter(moment_R, 0), choice_temperature=1.0)

    def transform_logits(self, logits_RV: Tensor) -> Tensor:
        return logits_RV * (1 + 1 / self.alpha)

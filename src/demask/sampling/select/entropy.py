"""The entropy order: tokens of lowest entropy first.

Shape legend: B batch, L tokens, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from demask.sampling.select.order import Order, SelectionInput


@dataclass(frozen=True)
class Entropy(Order):
    """Lowest entropy first; with a bound, the entropy-bounded sampler (arXiv 2505.24857).

    Attributes:
        bound: unmask more tokens than the schedule determines as long as the entropies of the
            selected tokens except the last sum to at most this, in nats; None follows the
            schedule. With a bound the order is biased. Image tokens have 4 to 6 nats each, so a
            useful bound grows with the number of tokens.

    Raises:
        ValueError: a negative bound.
    """

    bound: float | None = None
    stage: ClassVar[Literal["prediction"]] = "prediction"
    unbiased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bound is not None and not self.bound >= 0:
            raise ValueError(f"the entropy bound is 0 nats or more, not {self.bound}")

    def __call__(self, selection: SelectionInput) -> Tensor:
        entropy_R = torch.special.entr(selection.logits_RV.softmax(-1)).sum(-1)
        if self.bound is not None:
            sorted_BL = selection.scatter(entropy_R, torch.inf).sort(dim=-1).values
            before_BL = torch.nn.functional.pad(sorted_BL.cumsum(-1)[:, :-1], (1, 0))
            safe_B = ((before_BL <= self.bound) & sorted_BL.isfinite()).sum(-1)
            selection = replace(selection, count_B=torch.maximum(selection.count_B, safe_B))
        return selection.top(selection.scatter(-entropy_R, 0))

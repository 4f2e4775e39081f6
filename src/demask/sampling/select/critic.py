"""Token-Critic's order: keep the tokens that a second network scores as real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from demask.layouts import PLAIN_GRIDS, Layouts
from demask.sampling.select.order import Order, SelectionInput
from demask.sampling.temperature import Temperature
from demask.types import Condition, Step

Score = Callable[[Tensor, Condition, Step], Tensor]
"""``(ids_BL, condition, step) -> score_BL``: log-odds that a token is real."""


@dataclass(frozen=True)
class Critic(Order):
    """Score = log-odds that a token is real + tau_k * Gumbel (arXiv 2209.04439, section 3.2).

    All tokens compete in every step, so decoded tokens with a low score are remasked. A step costs
    one forward of the critic in addition to the model's.

    Attributes:
        choice_temperature: tau_k; noise in early steps makes images more diverse.
        score: the critic, an auxiliary network of the model.
    """

    choice_temperature: Temperature = field(default_factory=lambda: Temperature(1.0, "linear"))
    score: Score | None = None
    stage: ClassVar[Literal["draw"]] = "draw"
    may_remask: ClassVar[bool] = True
    aux_kind: ClassVar[str] = "token_critic"
    unbiased: ClassVar[bool] = False
    layouts: ClassVar[Layouts] = PLAIN_GRIDS

    def __call__(self, selection: SelectionInput) -> Tensor:
        assert self.score is not None, "the generator gives this order its critic"
        score_BL = self.score(selection.ids_BL, selection.condition, selection.step)
        return selection.top(score_BL, self.choice_temperature.at(selection.step))

    def with_passes(self, wrap: Callable[[Score], Score]) -> Critic:
        return self if self.score is None else replace(self, score=wrap(self.score))

    def attach(self, network: nn.Module) -> Critic:
        critic: Any = network
        return replace(self, score=critic.score)

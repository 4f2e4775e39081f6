"""Token-Critic's order: keep what a second network takes for real, whenever it was drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from demask.sampling.select.order import Order, SelectionInput
from demask.sampling.temperature import Temperature
from demask.types import Condition, Step

Score = Callable[[Tensor, Condition, Step], Tensor]
"""``(ids_BL, condition, step) -> score_BL``: how real each token of a whole image looks."""


@dataclass(frozen=True)
class Critic(Order):
    """Score = log-odds that a token is real + tau_k * Gumbel (arXiv 2209.04439, section 3.2).

    Every token competes in every step, the decided ones too: those that look wrong among what was
    drawn since are masked again. A step costs a forward of the critic beside the model's.

    Attributes:
        choice_temperature: tau_k; it loosens the choice early on, so that images differ.
        score: the critic; it comes from the model's auxiliary network.
    """

    choice_temperature: Temperature = field(default_factory=lambda: Temperature(1.0, "linear"))
    score: Score | None = None
    stage: ClassVar[Literal["draw"]] = "draw"
    may_remask: ClassVar[bool] = True
    aux_kind: ClassVar[str] = "token_critic"
    unbiased: ClassVar[bool] = False

    def __call__(self, selection: SelectionInput) -> Tensor:
        assert self.score is not None, "the generator gives this order its critic"
        score_BL = self.score(selection.ids_BL, selection.condition, selection.step)
        return selection.top(score_BL, self.choice_temperature.at(selection.step))

    def with_passes(self, wrap: Callable[[Score], Score]) -> Critic:
        return self if self.score is None else replace(self, score=wrap(self.score))

    def attach(self, network: nn.Module) -> Critic:
        critic: Any = network
        return replace(self, score=critic.score)

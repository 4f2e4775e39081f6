"""What a selection order sees and what it answers.

Shape legend: B batch, L tokens, V codebook, R rows (the open tokens of all pictures).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from demask import rng
from demask.types import Condition, Step


@dataclass(frozen=True)
class Look:
    """What an order may look at.

    Attributes:
        step: where the loop stands.
        ids_BL: the tokens; the open ones hold the drawn codes if the order looks at the draw.
        open_BL: the positions that may be decided now.
        count_B: how many of them the schedule wants decided in each picture.
        generators: one a picture, for an order that draws noise.
        condition: what each picture should show.
        logits_BLV: the prediction, unless the order looks at positions alone.
    """

    step: Step
    ids_BL: Tensor
    open_BL: Tensor
    count_B: Tensor
    generators: rng.Generators
    condition: Condition
    logits_BLV: Tensor | None = None

    @property
    def logits_RV(self) -> Tensor:
        """The prediction at the open positions, in float32 at least."""
        assert self.logits_BLV is not None, "this order said that it looks at positions alone"
        logits_RV = self.logits_BLV[self.open_BL]
        return logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float()

    def spread(self, values_R: Tensor, fill: float) -> Tensor:
        """Values of the open positions -> (B, L), with ``fill`` elsewhere."""
        spread_BL = values_R.new_full(self.open_BL.shape, fill)
        spread_BL[self.open_BL] = values_R
        return spread_BL

    def top(self, score_BL: Tensor, noise: float = 0.0) -> Tensor:
        """The ``count_B`` open positions of the highest score + noise * Gumbel, a mask (B, L).

        Equal scores go in row-major order.
        """
        if noise:
            gumbel_BL = rng.gumbel(self.generators, score_BL.shape[1]).to(score_BL.device)
            score_BL = score_BL.double() + noise * gumbel_BL
        # an open position of score -inf still goes before those that are not open
        score_BL = score_BL.clamp_min(torch.finfo(score_BL.dtype).min)
        score_BL = score_BL.masked_fill(~self.open_BL, -torch.inf)
        rank_BL = score_BL.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return (rank_BL < self.count_B[:, None]) & self.open_BL


class Order(ABC):
    """Chooses the positions that a step decides: ``order(look)`` is a mask (B, L).

    Attributes:
        looks_at: what must be known before it chooses: only the ``positions`` (then just the
            chosen ones are drawn, and an accelerator knows them before the forward), the
            ``prediction``, or the ``draw``.
        revises: it may hide decided tokens again; then every token that the user did not give
            is open at each step.
        companion: the kind of network beside the model that it needs, or None.
        unbiased: with one token a step at temperature 1 it samples the model's joint
            distribution, since what it chooses does not depend on what was drawn.
    """

    looks_at: ClassVar[Literal["positions", "prediction", "draw"]]
    revises: ClassVar[bool] = False
    companion: ClassVar[str | None] = None
    unbiased: ClassVar[bool]

    @abstractmethod
    def __call__(self, look: Look) -> Tensor:
        """The positions to decide, a mask (B, L) within ``look.open_BL``."""

    def sharpen(self, logits_RV: Tensor) -> Tensor:
        """The distribution to draw from, where the order prescribes one."""
        return logits_RV

    def beside(self, network: nn.Module) -> Order:
        """This order with the network that ``companion`` names."""
        raise AssertionError(f"{type(self).__name__} asks for no network")

"""The base class of selection orders and their input.

Shape legend: B batch, L tokens, V codebook, R rows (the candidates of all images).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from demask import rng
from demask.layouts import ANY_LAYOUT, Layouts
from demask.types import Condition, Step

Stage = Literal["positions", "prediction", "draw"]
"""When an order selects: before the forward pass, after it, or after the codes are drawn."""


@dataclass(frozen=True)
class SelectionInput:
    """Input of a selection order.

    Attributes:
        step: the current step.
        ids_BL: the tokens; at stage ``draw`` the candidates hold their sampled codes.
        candidate_BL: the positions that may be selected.
        count_B: number of positions to select in each image.
        generators: one random generator per image.
        condition: the condition of each image.
        logits_BLV: the prediction; None at stage ``positions``.
    """

    step: Step
    ids_BL: Tensor
    candidate_BL: Tensor
    count_B: Tensor
    generators: rng.Generators
    condition: Condition
    logits_BLV: Tensor | None = None

    @property
    def logits_RV(self) -> Tensor:
        """Logits (R, V) at the candidates, in float32 or float64."""
        assert self.logits_BLV is not None, "the logits are not known at the stage 'positions'"
        logits_RV = self.logits_BLV[self.candidate_BL]
        return logits_RV if logits_RV.dtype == torch.float64 else logits_RV.float()

    def scatter(self, values_R: Tensor, fill: float) -> Tensor:
        """Scatter values (R) of the candidates to (B, L); other positions hold ``fill``."""
        spread_BL = values_R.new_full(self.candidate_BL.shape, fill)
        spread_BL[self.candidate_BL] = values_R
        return spread_BL

    def top(self, score_BL: Tensor, choice_temperature: float = 0.0) -> Tensor:
        """The ``count_B`` candidates of the highest score + choice_temperature * Gumbel, (B, L).

        Ties are broken in row-major order.
        """
        if choice_temperature:
            gumbel_BL = rng.gumbel(self.generators, score_BL.shape[1]).to(score_BL.device)
            score_BL = score_BL.double() + choice_temperature * gumbel_BL
        # a candidate of score -inf still ranks before positions that are no candidates
        score_BL = score_BL.clamp_min(torch.finfo(score_BL.dtype).min)
        score_BL = score_BL.masked_fill(~self.candidate_BL, -torch.inf)
        rank_BL = score_BL.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return (rank_BL < self.count_B[:, None]) & self.candidate_BL


class Order(ABC):
    """Selects the positions that a step unmasks: ``order(selection)`` is a mask (B, L).

    Attributes:
        stage: what the order needs. ``positions``: nothing else, so that only selected positions
            are sampled and accelerators know them before the forward. ``prediction``: the
            logits. ``draw``: the sampled codes.
        may_remask: whether it may remask decoded tokens; then all tokens but the known ones are
            candidates in every step.
        aux_kind: the kind of auxiliary network that it needs, or None.
        unbiased: whether one token per step at temperature 1 samples the model's joint
            distribution: the selection must not depend on the sampled codes.
        can_share: whether images of several requests may share a batch under this order, although
            rounding then changes their logits. An order of the stage ``positions`` may declare it
            if it does not read logits; one of the stage ``draw``, if it implements
            `select_by_score` and does not remask. Neither may override `transform_logits`.
        layouts: the token layouts that it serves; checked before any work, see `check_layout`.

    Raises:
        TypeError: a subclass declares ``can_share`` and is none of these.
    """

    stage: ClassVar[Stage]
    may_remask: ClassVar[bool] = False
    aux_kind: ClassVar[str | None] = None
    unbiased: ClassVar[bool]
    can_share: ClassVar[bool] = False
    layouts: ClassVar[Layouts] = ANY_LAYOUT

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.can_share:
            return
        by_score = cls.select_by_score is not Order.select_by_score and not cls.may_remask
        stage_fits = cls.stage == "positions" or (cls.stage == "draw" and by_score)
        if not stage_fits or cls.transform_logits is not Order.transform_logits:
            raise TypeError(
                f"{cls.__name__} cannot declare can_share: the stage must be 'positions', or "
                "'draw' with select_by_score and without may_remask; transform_logits must not "
                "be overridden"
            )

    @abstractmethod
    def __call__(self, selection: SelectionInput) -> Tensor:
        """The positions to unmask, (B, L), a subset of ``selection.candidate_BL``."""

    def select_at(self, stage: Stage, selection: SelectionInput) -> SelectionInput:
        """The input with the selected positions as candidates; unchanged at another stage."""
        if stage != self.stage:
            return selection
        return replace(selection, candidate_BL=self(selection))

    def code_scores(self, logits_RV: Tensor) -> Tensor:
        """What `select_by_score` reads of each code (R, V): by default its log probability.

        An error of at most e in every logit changes a score by at most 2 e.
        """
        return logits_RV.log_softmax(-1)

    def select_by_score(self, selection: SelectionInput, score_R: Tensor) -> Tensor:
        """As ``self(selection)``, given the `code_scores` value of each drawn code (R).

        A selected position must stay selected when its score rises and those of the others fall.
        """
        raise NotImplementedError(f"{type(self).__name__} does not select by a score")

    def transform_logits(self, logits_RV: Tensor) -> Tensor:
        """The logits to sample codes from; unchanged by default."""
        return logits_RV

    def with_passes(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Order:
        """The same order with ``wrap`` around each pass through a network that it makes."""
        return self

    def attach(self, network: nn.Module) -> Order:
        """A copy of this order with the network of kind ``aux_kind``."""
        raise AssertionError(f"{type(self).__name__} asks for no network")

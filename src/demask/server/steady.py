"""Which pictures of a batch took decisions that rounding could have turned.

In float32 the product of a large matrix rounds otherwise than that of a small one, so a picture's
logits in a batch differ from its logits alone by a little. Most decisions don't care. Here is
found, from the logits of the batch, which pictures' decisions are the same under every change of
every logit by at most ``tolerance``; the others have to ask the model again, alone.

Shape legend: B batch, L tokens, R rows (tokens of any picture), V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import Painter
from demask.sampling.filter import Filter
from demask.sampling.select import Confidence, Halton, Look
from demask.settings import Settings
from demask.types import DecodeState

SAFETY = 8.0
"""The tolerance is so many times the largest difference that was measured."""

SLACK = 4e-6  # of a cumulative probability in float32, beside what the logits' own rounding does


SMOOTH = ("classifier_free", "self_guidance", "autoguidance")
"""Guidances under which a little change of the model's numbers changes the logits a little."""


def can_share(settings: Settings) -> bool:
    """Whether `steady` knows what the decisions of these settings depend on.

    Pictures of other settings are painted one at a time: corrections look further back than a
    step, and an accelerator that merges or skips tokens decides inside the model.
    """
    sampler = settings.sampler
    return (
        type(sampler.order) in (Confidence, Halton)
        and not (sampler.corrections or settings.acceleration)
        and sampler.filter == Filter()
        and (settings.guidance == 1 or settings.guidance_method in SMOOTH)
        and settings.guidance_refresh == 1
    )


def steady(
    painter: Painter,
    before: DecodeState,
    after: DecodeState,
    generators: rng.Generators,
    tolerance: float,
) -> Tensor:
    """The pictures, a mask (B), that decide the same if no logit is off by more than ``tolerance``.

    A code drawn at u stays while u lies between its cumulative bounds: they move furthest if all
    logits below it rise and all others fall, or the other way round. A ranking stays while the
    kept tokens at their least and the others at their most make the same choice.

    Args:
        painter: of settings that `can_share`.
        before: the state that the step began from.
        after: the state that the step led to.
        generators: copies, as they were before the step; they are used up.
        tolerance: how far a logit may be from what it would be alone.
    """
    assert after.logits_BLV is not None
    sampler, kept_BL = painter.sampler, after.decided_BL
    open_BL = before.hidden_BL
    look = Look(after.step, after.ids_BL, open_BL, kept_BL.sum(-1), generators, painter.condition)
    look = replace(look, logits_BLV=after.logits_BLV)
    if sampler.order.looks_at == "positions":
        look = replace(look, open_BL=kept_BL)
    draws = Draws.again(look, sampler.temperature.at(after.step), tolerance)
    sure_BL = look.spread(draws.sure_R, True)
    sure_B = (sure_BL | ~kept_BL).all(-1)
    if not isinstance(sampler.order, Confidence):
        return sure_B
    log_p_RV = look.logits_RV.log_softmax(-1)
    log_p_R = log_p_RV.gather(-1, draws.codes_R[:, None])[:, 0]
    most_R = torch.where(draws.sure_R, log_p_R, log_p_RV.amax(-1))
    kept_R = kept_BL[open_BL]
    # a log probability is off by twice as much as a logit, since its normaliser moves as well
    worst_R = torch.where(kept_R, log_p_R - 2 * tolerance, most_R + 2 * tolerance)
    choice_BL = look.top(look.spread(worst_R, 0), sampler.order.noise.at(look.step))
    return sure_B & (choice_BL == kept_BL).all(-1)


@dataclass(frozen=True)
class Draws:
    """The codes of a step's open positions, and which of them no rounding can change."""

    codes_R: Tensor
    sure_R: Tensor

    @classmethod
    def again(cls, look: Look, temperature: float, tolerance: float) -> Draws:
        """Draw as the step did."""
        uniform_BL = rng.uniform(look.generators, look.open_BL.shape[1]).to(look.open_BL.device)
        if temperature == 0:
            best_R2, codes_R2 = look.logits_RV.topk(2)
            return cls(codes_R2[:, 0], best_R2[:, 0] - best_R2[:, 1] > 2 * tolerance)
        cumulative_RV = (look.logits_RV / temperature).softmax(-1).cumsum(-1)
        uniform_R1 = uniform_BL[look.open_BL][:, None]
        total_R1 = cumulative_RV[:, -1:].double()
        target_R1 = (uniform_R1 * total_R1).to(cumulative_RV)
        last = cumulative_RV.shape[-1] - 1
        codes_R1 = torch.searchsorted(cumulative_RV, target_R1, right=True).clamp_max(last)
        upper_R1 = cumulative_RV.gather(-1, codes_R1).double() / total_R1
        lower_R1 = cumulative_RV.gather(-1, (codes_R1 - 1).clamp_min(0)).double() / total_R1
        off = 2 * tolerance / temperature
        above_R1 = (codes_R1 == 0) | (uniform_R1 > tilt(lower_R1, off) + SLACK)
        below_R1 = (codes_R1 == last) | (uniform_R1 < tilt(upper_R1, -off) - SLACK)
        return cls(codes_R1[:, 0], (above_R1 & below_R1)[:, 0])


def tilt(probability: Tensor, log_odds: float) -> Tensor:
    """A probability whose logarithmic odds are raised by so much."""
    return (probability.logit() + log_odds).sigmoid()


@dataclass
class Rounding:
    """How far a batch's logits are from those of its pictures alone, as measured while painting.

    Attributes:
        seen: the largest difference so far, for guidance that is off; guidance at scale s
            multiplies it by up to |s| + |1 - s|.
        checks: how many pictures were compared.
    """

    seen: float = 0.0
    checks: int = field(default=0)

    def measure(self, shared: DecodeState, alone: DecodeState, scale: float) -> None:
        """Compare a picture's logits in a batch with its logits alone, both batches of one."""
        assert shared.logits_BLV is not None
        assert alone.logits_BLV is not None
        rows_BL = alone.step.rows_BL
        off_BLV = (shared.logits_BLV.double() - alone.logits_BLV.double()).abs()
        off = float((off_BLV if rows_BL is None else off_BLV[rows_BL]).max())
        self.checks += 1
        self.seen = max(self.seen, off / gain(scale))

    def tolerance(self, scale: float, logits_BLV: Tensor) -> float:
        """How far a logit under guidance at a scale may be off, with a margin for safety."""
        least = torch.finfo(torch.float32).eps * float(logits_BLV.abs().max())
        return SAFETY * max(self.seen * gain(scale), least)


def gain(scale: float) -> float:
    """What guidance, reference + s (conditional - reference), does to an error of both."""
    return abs(scale) + abs(1 - scale)

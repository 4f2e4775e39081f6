"""Find the images of a batch whose decisions rounding could have changed.

In float32 the product of a large matrix rounds differently from that of a small one, so the logits
of an image in a batch differ slightly from its logits alone. Most decisions do not depend on that.
From the logits of the batch, this module finds the images whose decisions stay the same under
every change of every logit by at most ``tolerance``; the other images repeat the step alone.
Because near-ties are repeated, the batched path may use faster kernels that round differently.

Shape legend: B batch, L tokens, R rows (tokens of any image), V codebook, X codebook or, with
fused guidance, the width of the transformer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from demask import rng
from demask.batching.fused_guidance import ToLogits, identity
from demask.guidance import GUIDANCES
from demask.sampling.filter import Filter
from demask.sampling.select import SelectionInput, Stage
from demask.sampling.stepper import Stepper
from demask.settings import Settings
from demask.types import DecodeState, Predict

SAFETY = 8.0
"""The tolerance is the largest measured difference times this factor."""

SLACK = 4e-6
"""Rounding of a cumulative probability in float32, in addition to that of the logits."""

ROWS = 256
"""The number of rows that go through the output matrix together."""

CACHED = 2**18
"""The number of logits that are drawn from together; they fit into the processor's cache."""


def can_share(settings: Settings) -> bool:
    """Whether images with these settings may share a batch.

    The order, the guidance and every correction declare it in their ``can_share``. Filters and
    accelerators never share: both decide by comparing numbers that rounding changes; nor do
    one-step generators. Guidance that is not refreshed in every step keeps the difference of one
    batch, which cannot be split.
    """
    sampler = settings.sampler
    guidance = GUIDANCES[settings.guidance_method.partition(":")[0]]
    return (
        all(part.can_share for part in sampler.parts)
        and (settings.guidance_scale == 1 or guidance.can_share)
        and settings.guidance_refresh == 1
        and sampler.filter == Filter()
        and not sampler.start.one_pass
        and not settings.accelerators
    )


@dataclass(frozen=True)
class Draws:
    """The codes drawn at the candidate positions of a step.

    Attributes:
        codes_R: the codes, as `Stepper.draw` draws them.
        sure_R: whether no rounding can change the code.
        score_R: the order's score of the code.
        most_R: the score of the most likely code.
        tolerance_R: the largest possible difference between a logit and its value alone.
    """

    codes_R: Tensor
    sure_R: Tensor
    score_R: Tensor
    most_R: Tensor
    tolerance_R: Tensor

    @classmethod
    def of(
        cls,
        rows_RX: Tensor,
        to_logits: ToLogits,
        uniform_R: Tensor,
        temperature: float,
        tolerance: Callable[[Tensor], float],
        score: Callable[[Tensor], Tensor],
    ) -> Draws:
        """Draw a code for each row; a few rows at a time, which stay in the processor's cache.

        Args:
            rows_RX: the predictions at the candidate positions.
            to_logits: turns them into logits (R, V).
            uniform_R: random numbers in [0, 1).
            temperature: the softmax temperature.
            tolerance: the largest possible error of some rows of logits.
            score: what the order reads of each code; see `Order.code_scores`.
        """
        parts = []
        for some_RX, u_R in zip(rows_RX.split(ROWS), uniform_R.split(ROWS), strict=True):
            logits_RV = to_logits(some_RX)
            few = max(CACHED // logits_RV.shape[1], 1)
            for each_RV, each_R in zip(logits_RV.split(few), u_R.split(few), strict=True):
                wide_RV = each_RV if each_RV.dtype == torch.float64 else each_RV.float()
                off = tolerance(wide_RV)
                codes_R, sure_R = drawn(wide_RV, each_R, temperature, off)
                score_RV = score(wide_RV)
                score_R = score_RV.gather(-1, codes_R[:, None])[:, 0]
                most_R = score_RV.amax(-1)
                parts.append((codes_R, sure_R, score_R, most_R, torch.full_like(most_R, off)))
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))


def drawn(
    logits_RV: Tensor, uniform_R: Tensor, temperature: float, tolerance: float
) -> tuple[Tensor, Tensor]:
    """The code of each row (R), and whether no change within the tolerance changes it (R).

    A code drawn at u stays while u lies between its cumulative bounds. They move furthest if all
    logits below it rise and all others fall, or the other way round.
    """
    if temperature == 0:
        best_R2 = logits_RV.topk(2).values
        return logits_RV.argmax(-1), best_R2[:, 0] - best_R2[:, 1] > 2 * tolerance
    cumulative_RV = (logits_RV / temperature).softmax(-1).cumsum(-1)
    codes_R = rng.invert(cumulative_RV, uniform_R)
    total_R, last = cumulative_RV[:, -1].double(), cumulative_RV.shape[-1] - 1
    upper_R = cumulative_RV.gather(-1, codes_R[:, None])[:, 0].double() / total_R
    lower_R = cumulative_RV.gather(-1, (codes_R - 1).clamp_min(0)[:, None])[:, 0].double() / total_R
    off = 2 * tolerance / temperature
    above_R = (codes_R == 0) | (uniform_R > tilt(lower_R, off) + SLACK)
    below_R = (codes_R == last) | (uniform_R < tilt(upper_R, -off) - SLACK)
    return codes_R, above_R & below_R


def tilt(probability: Tensor, log_odds: float) -> Tensor:
    """The probability whose log odds are higher by ``log_odds``."""
    return (probability.logit() + log_odds).sigmoid()


@dataclass(frozen=True)
class CheckedStepper(Stepper):
    """A stepper for settings that `can_share`, which records its latest draws.

    Attributes:
        to_logits: turns the predictor's rows into logits.
        tolerance: the largest possible error of some rows of logits.
        recorded: the draws of the latest step, with the input that they were made from.
    """

    to_logits: ToLogits = identity
    tolerance: Callable[[Tensor], float] = lambda _logits_RV: 0.0
    recorded: list[tuple[Draws, SelectionInput]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        stepper: Stepper,
        predict: Predict,
        to_logits: ToLogits,
        tolerance: Callable[[Tensor], float],
    ) -> Self:
        """The same stepper, with a predictor that may round differently."""
        parts = {f.name: getattr(stepper, f.name) for f in fields(stepper)} | {"predict": predict}
        return cls(**parts, to_logits=to_logits, tolerance=tolerance)

    def draw(self, selection: SelectionInput) -> Tensor:
        assert selection.logits_BLV is not None
        candidate_BL = selection.candidate_BL
        uniform_BL = rng.uniform(self.generators, candidate_BL.shape[1]).to(candidate_BL.device)
        temperature = self.sampler.temperature.at(selection.step)
        rows_RX, uniform_R = selection.logits_BLV[candidate_BL], uniform_BL[candidate_BL]
        score = self.sampler.order.code_scores
        draws = Draws.of(rows_RX, self.to_logits, uniform_R, temperature, self.tolerance, score)
        self.recorded[:] = [(draws, selection)]
        return selection.scatter(draws.codes_R, 0)

    def select(self, stage: Stage, selection: SelectionInput) -> SelectionInput:
        order = self.sampler.order
        if not stage == order.stage == "draw":
            return super().select(stage, selection)
        ((draws, _),) = self.recorded  # its scores are not computed again
        selected_BL = order.select_by_score(selection, draws.score_R)
        return replace(selection, candidate_BL=selected_BL)

    def invariant_images(self, unmasked_now_BL: Tensor, generators: rng.Generators) -> Tensor:
        """The images whose decisions no error within the tolerance can change, a mask (B).

        The selection stays while it is the same with the selected positions at their lowest
        possible score and the others at their highest.

        Args:
            unmasked_now_BL: the positions that the latest step decided.
            generators: copies in their states before the step; they are advanced.
        """
        ((draws, selection),) = self.recorded
        sure_B = (selection.scatter(draws.sure_R, True) | ~unmasked_now_BL).all(-1)
        order = self.sampler.order
        if order.stage == "positions":
            return sure_B
        unmasked_now_R = unmasked_now_BL[selection.candidate_BL]
        # a score has at most twice the error of a logit; see `Order.code_scores`
        off = 2 * float(draws.tolerance_R.max())
        most_R = torch.where(draws.sure_R, draws.score_R, draws.most_R) + off
        worst_R = torch.where(unmasked_now_R, draws.score_R - off, most_R)
        rng.uniform(generators, unmasked_now_BL.shape[1])  # what the draw has used
        again = replace(selection, generators=generators)
        return sure_B & (order.select_by_score(again, worst_R) == unmasked_now_BL).all(-1)


@dataclass
class Rounding:
    """The difference between logits of a batch and logits of a single image, as measured so far.

    Attributes:
        seen: the largest difference without guidance; guidance at scale s multiplies it by up to
            |s| + |1 - s|.
        checks: the number of images measured.
    """

    seen: float = 0.0
    checks: int = 0

    def measure(self, shared_LV: Tensor, alone: DecodeState, scale: float) -> None:
        """Compare the logits of an image in a batch with its logits alone."""
        assert alone.logits_BLV is not None
        rows_BL = alone.step.rows_BL
        off_LV = (shared_LV.double() - alone.logits_BLV[0].double()).abs()
        off = float((off_LV if rows_BL is None else off_LV[rows_BL[0]]).max())
        self.checks += 1
        self.seen = max(self.seen, off / gain(scale))

    def tolerance(self, scale: float, logits_RV: Tensor) -> float:
        """The largest possible error of a guided logit, with a safety factor."""
        low, high = logits_RV.aminmax()
        least = torch.finfo(torch.float32).eps * max(-float(low), float(high))
        return SAFETY * max(self.seen * gain(scale), least)


def gain(scale: float) -> float:
    """The factor by which guidance at scale s multiplies an error of both predictions."""
    return abs(scale) + abs(1 - scale)

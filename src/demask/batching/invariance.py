"""Which images of a batch took decisions that rounding could have turned.

In float32 the product of a large matrix rounds otherwise than that of a small one, so an image's
logits in a batch differ from its logits alone by a little. Most decisions don't care. Here is
found, from the logits of the batch, which images' decisions are the same under every change of
every logit by at most ``tolerance``; the others have to ask the model again, alone.

Shape legend: B batch, L tokens, R rows (tokens of any image), V codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from demask import rng
from demask.batching.fused_guidance import ToLogits, identity
from demask.sampling.decode import Stepper
from demask.sampling.filter import Filter
from demask.sampling.select import Confidence, Halton, SelectionInput
from demask.settings import Settings
from demask.types import DecodeState, Predict

SAFETY = 8.0
"""The tolerance is so many times the largest difference that was measured."""

SLACK = 4e-6  # of a cumulative probability in float32, beside what the logits' own rounding does

ROWS = 256
"""So many tokens go through the output matrix together, ..."""

CACHED = 2**18
"""... and so many of their logits through the draw."""

SMOOTH = ("classifier_free", "self_guidance", "autoguidance")
"""Guidances under which a little change of the model's numbers changes the logits a little."""


def can_share(settings: Settings) -> bool:
    """Whether `can_share` knows what the decisions of these settings depend on.

    Images of other settings are generated one at a time: corrections look further back than a
    step, and an accelerator that merges or skips tokens decides inside the model.
    """
    sampler = settings.sampler
    return (
        type(sampler.order) in (Confidence, Halton)
        and not (sampler.corrections or settings.acceleration)
        and sampler.filter == Filter()
        and (settings.guidance_scale == 1 or settings.guidance_method in SMOOTH)
        and settings.guidance_refresh == 1
    )


@dataclass(frozen=True)
class Draws:
    """The codes of a step's open positions.

    Attributes:
        codes_R: as `Stepper.draw` draws them.
        sure_R: no rounding can change the code.
        log_p_R: its log probability.
        most_R: that of the likeliest code.
        tolerance_R: how far a logit may be from what it would be alone.
    """

    codes_R: Tensor
    sure_R: Tensor
    log_p_R: Tensor
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
    ) -> Draws:
        """Draw a few rows at a time, which stay in the processor's cache.

        Args:
            rows_RX: the predictions of the open positions, ...
            to_logits: ... of which this makes logits.
            uniform_R: random numbers.
            temperature: of the softmax.
            tolerance: of some rows' logits.
        """
        parts = []
        for some_RX, u_R in zip(rows_RX.split(ROWS), uniform_R.split(ROWS), strict=True):
            logits_RV = to_logits(some_RX)
            few = max(CACHED // logits_RV.shape[1], 1)
            for each_RV, each_R in zip(logits_RV.split(few), u_R.split(few), strict=True):
                wide_RV = each_RV if each_RV.dtype == torch.float64 else each_RV.float()
                off = tolerance(wide_RV)
                codes_R, sure_R = drawn(wide_RV, each_R, temperature, off)
                log_p_RV = wide_RV.log_softmax(-1)
                log_p_R = log_p_RV.gather(-1, codes_R[:, None])[:, 0]
                most_R = log_p_RV.amax(-1)
                parts.append((codes_R, sure_R, log_p_R, most_R, torch.full_like(most_R, off)))
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))


def drawn(
    logits_RV: Tensor, uniform_R: Tensor, temperature: float, tolerance: float
) -> tuple[Tensor, Tensor]:
    """A code for each row (R), and whether no rounding can change it (R)."""
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
    """A probability whose logarithmic odds are raised by so much."""
    return (probability.logit() + log_odds).sigmoid()


@dataclass(frozen=True)
class CheckedStepper(Stepper):
    """A stepper for settings that `can_share`, which keeps what it drew.

    Attributes:
        to_logits: makes logits of what the predictor says of some tokens.
        tolerance: how far the logits of some rows may be from what they would be alone.
        recorded: the draws of the latest step, and of what.
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
    ) -> CheckedStepper:
        """The same stepper, with a predictor that may round otherwise."""
        parts = {f.name: getattr(stepper, f.name) for f in fields(stepper)} | {"predict": predict}
        checked = cls(**parts, to_logits=to_logits, tolerance=tolerance)
        order = stepper.sampler.order
        if not isinstance(order, Confidence):
            return checked
        cached = CachedConfidence(order.choice_temperature, checked.recorded)
        return replace(checked, sampler=replace(stepper.sampler, order=cached))

    def draw(self, selection: SelectionInput) -> Tensor:
        assert selection.logits_BLV is not None
        candidate_BL = selection.candidate_BL
        uniform_BL = rng.uniform(self.generators, candidate_BL.shape[1]).to(candidate_BL.device)
        heat = self.sampler.temperature.at(selection.step)
        rows_RX = selection.logits_BLV[candidate_BL]
        draws = Draws.of(rows_RX, self.to_logits, uniform_BL[candidate_BL], heat, self.tolerance)
        self.recorded[:] = [(draws, selection)]
        return selection.scatter(draws.codes_R, 0)

    def invariant_images(self, unmasked_now_BL: Tensor, generators: rng.Generators) -> Tensor:
        """The images, a mask (B), that decide the same if no logit is off by the tolerance.

        A code drawn at u stays while u lies between its cumulative bounds: they move furthest if
        all logits below it rise and all others fall, or the other way round. A ranking stays
        while the kept tokens at their least and the others at their most make the same choice.

        Args:
            unmasked_now_BL: what the latest step decided.
            generators: copies, as they were before the step; they are used up.
        """
        ((draws, selection),) = self.recorded
        sure_B = (selection.scatter(draws.sure_R, True) | ~unmasked_now_BL).all(-1)
        order = self.sampler.order
        if not isinstance(order, Confidence):
            return sure_B
        unmasked_now_R = unmasked_now_BL[selection.candidate_BL]
        # a log probability is off by twice as much as a logit, since its normaliser moves as well
        off = 2 * float(draws.tolerance_R.max())
        most_R = torch.where(draws.sure_R, draws.log_p_R, draws.most_R) + off
        worst_R = torch.where(unmasked_now_R, draws.log_p_R - off, most_R)
        rng.uniform(generators, unmasked_now_BL.shape[1])
        again = replace(selection, generators=generators)
        choice_BL = again.top(
            selection.scatter(worst_R, 0), order.choice_temperature.at(selection.step)
        )
        return sure_B & (choice_BL == unmasked_now_BL).all(-1)


@dataclass(frozen=True)
class CachedConfidence(Confidence):
    """The confidence order of a `CheckedStepper`, which knows the probabilities already."""

    recorded: list[tuple[Draws, SelectionInput]] = field(default_factory=list)

    def __call__(self, selection: SelectionInput) -> Tensor:
        ((draws, _),) = self.recorded
        return selection.top(
            selection.scatter(draws.log_p_R, 0), self.choice_temperature.at(selection.step)
        )


@dataclass
class Rounding:
    """How far a batch's logits are from those of its images alone, as measured while generating.

    Attributes:
        seen: the largest difference so far, for guidance that is off; guidance at scale s
            multiplies it by up to |s| + |1 - s|.
        checks: how many images were compared.
    """

    seen: float = 0.0
    checks: int = field(default=0)

    def measure(self, shared_LV: Tensor, alone: DecodeState, scale: float) -> None:
        """Compare an image's logits in a batch with its logits alone."""
        assert alone.logits_BLV is not None
        rows_BL = alone.step.rows_BL
        off_LV = (shared_LV.double() - alone.logits_BLV[0].double()).abs()
        off = float((off_LV if rows_BL is None else off_LV[rows_BL[0]]).max())
        self.checks += 1
        self.seen = max(self.seen, off / gain(scale))

    def tolerance(self, scale: float, logits_RV: Tensor) -> float:
        """How far a logit under guidance at a scale may be off, with a margin for safety."""
        low, high = logits_RV.aminmax()
        least = torch.finfo(torch.float32).eps * max(-float(low), float(high))
        return SAFETY * max(self.seen * gain(scale), least)


def gain(scale: float) -> float:
    """What guidance, reference + s (conditional - reference), does to an error of both."""
    return abs(scale) + abs(1 - scale)

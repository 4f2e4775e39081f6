"""Which pictures of a batch took decisions that rounding could have turned.

In float32 the product of a large matrix rounds otherwise than that of a small one, so a picture's
logits in a batch differ from its logits alone by a little. Most decisions don't care. Here is
found, from the logits of the batch, which pictures' decisions are the same under every change of
every logit by at most ``tolerance``; the others have to ask the model again, alone.

Shape legend: B batch, L tokens, R rows (tokens of any picture), V codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import Painter
from demask.sampling.filter import Filter
from demask.sampling.select import Confidence, Halton, Look
from demask.server.early import Codes, same
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


@dataclass(frozen=True)
class Draws:
    """The codes of a step's open positions.

    Attributes:
        codes_R: as `Painter.draw` draws them.
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
        codes: Codes,
        uniform_R: Tensor,
        temperature: float,
        tolerance: Callable[[Tensor], float],
    ) -> Draws:
        """Draw a few rows at a time, which stay in the processor's cache.

        Args:
            rows_RX: the predictions of the open positions, ...
            codes: ... of which this makes logits.
            uniform_R: random numbers.
            temperature: of the softmax.
            tolerance: of some rows' logits.
        """
        parts = []
        for some_RX, u_R in zip(rows_RX.split(ROWS), uniform_R.split(ROWS), strict=True):
            logits_RV = codes(some_RX)
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
class Careful(Painter):
    """A painter of settings that `can_share`, which keeps what it drew.

    Attributes:
        codes: makes logits of what the predictor says of some tokens.
        tolerance: how far the logits of some rows may be from what they would be alone.
        kept: the draws of the latest step, and of what.
    """

    codes: Codes = same
    tolerance: Callable[[Tensor], float] = lambda _logits_RV: 0.0
    kept: list[tuple[Draws, Look]] = field(default_factory=list)

    @classmethod
    def of(
        cls, painter: Painter, predict: Predict, codes: Codes, tolerance: Callable[[Tensor], float]
    ) -> Careful:
        """The same painter, with a predictor that may round otherwise."""
        parts = {f.name: getattr(painter, f.name) for f in fields(painter)} | {"predict": predict}
        careful = cls(**parts, codes=codes, tolerance=tolerance)
        order = painter.sampler.order
        if not isinstance(order, Confidence):
            return careful
        noted = Noted(order.noise, careful.kept)
        return replace(careful, sampler=replace(painter.sampler, order=noted))

    def draw(self, look: Look) -> Tensor:
        assert look.logits_BLV is not None
        open_BL = look.open_BL
        uniform_BL = rng.uniform(self.generators, open_BL.shape[1]).to(open_BL.device)
        heat = self.sampler.temperature.at(look.step)
        rows_RX = look.logits_BLV[open_BL]
        draws = Draws.of(rows_RX, self.codes, uniform_BL[open_BL], heat, self.tolerance)
        self.kept[:] = [(draws, look)]
        return look.spread(draws.codes_R, 0)

    def steady(self, decided_BL: Tensor, generators: rng.Generators) -> Tensor:
        """The pictures, a mask (B), that decide the same if no logit is off by the tolerance.

        A code drawn at u stays while u lies between its cumulative bounds: they move furthest if
        all logits below it rise and all others fall, or the other way round. A ranking stays
        while the kept tokens at their least and the others at their most make the same choice.

        Args:
            decided_BL: what the latest step decided.
            generators: copies, as they were before the step; they are used up.
        """
        ((draws, look),) = self.kept
        sure_B = (look.spread(draws.sure_R, True) | ~decided_BL).all(-1)
        order = self.sampler.order
        if not isinstance(order, Confidence):
            return sure_B
        decided_R = decided_BL[look.open_BL]
        # a log probability is off by twice as much as a logit, since its normaliser moves as well
        off = 2 * float(draws.tolerance_R.max())
        most_R = torch.where(draws.sure_R, draws.log_p_R, draws.most_R) + off
        worst_R = torch.where(decided_R, draws.log_p_R - off, most_R)
        rng.uniform(generators, decided_BL.shape[1])
        again = replace(look, generators=generators)
        choice_BL = again.top(look.spread(worst_R, 0), order.noise.at(look.step))
        return sure_B & (choice_BL == decided_BL).all(-1)


@dataclass(frozen=True)
class Noted(Confidence):
    """The confidence order of a `Careful` painter, which knows the probabilities already."""

    kept: list[tuple[Draws, Look]] = field(default_factory=list)

    def __call__(self, look: Look) -> Tensor:
        ((draws, _),) = self.kept
        return look.top(look.spread(draws.log_p_R, 0), self.noise.at(look.step))


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

    def measure(self, shared_LV: Tensor, alone: DecodeState, scale: float) -> None:
        """Compare a picture's logits in a batch with its logits alone."""
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

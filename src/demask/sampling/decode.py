"""The decode loop (MaskGIT, arXiv 2202.04200, section 3.2).

Start from a grid of hidden tokens. At each step ask the model about them, draw them, keep those
that the selection order likes best and hide the rest again, until nothing is hidden.

Shape legend: B batch, L tokens, V codebook, T steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from demask import rng
from demask.rng import Generators
from demask.sampling.correction import Correction, check_guidance
from demask.sampling.edit import Canvas
from demask.sampling.filter import Filter
from demask.sampling.schedule import Schedule, cosine, hidden_after
from demask.sampling.select import Confidence, Look, Order
from demask.sampling.temperature import Temperature
from demask.types import Condition, DecodeState, Predict, Step


@dataclass(frozen=True)
class Sampler:
    """Every choice that the loop leaves open.

    Attributes:
        steps: from 1 to the number of tokens; fewer are made once no token can change any more.
        schedule: the fraction of the tokens that is hidden after each step.
        order: which tokens a step keeps.
        temperature: the softmax temperature of each step; 0 takes the most likely code.
        filter: which codes may be drawn at all (top-k, top-p).
        corrections: changes to the distribution or to decided tokens, applied in turn.
    """

    steps: int = 12
    schedule: Schedule = cosine
    order: Order = field(default_factory=Confidence)
    temperature: Temperature = field(default_factory=Temperature)
    filter: Filter = field(default_factory=Filter)
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Painter:
    """A model, what to paint, and how: one `advance` is one step of the loop."""

    predict: Predict
    condition: Condition
    generators: Generators
    sampler: Sampler
    hidden_BT: Tensor

    def advance(self, state: DecodeState, step: Step) -> DecodeState:
        """Decide as many tokens as the schedule asks for."""
        order, ids_BL, hidden_BL = self.sampler.order, state.ids_BL, state.hidden_BL
        open_BL = ~state.given_BL if order.revises else hidden_BL
        count_B = (open_BL.sum(-1) - self.hidden_BT[:, step.index]).clamp_min(0)
        step = replace(step, mask_ratio_B=hidden_BL.double().mean(-1))
        look = Look(step, ids_BL, open_BL, count_B, self.generators, self.condition)
        if order.looks_at == "positions":
            look = replace(look, open_BL=order(look))
        rows_BL = look.open_BL
        for correction in self.sampler.corrections:
            rows_BL = rows_BL | correction.reads(state)
        now = replace(state, step=replace(step, rows_BL=rows_BL))
        guided_BLV = logits_BLV = self.predict(ids_BL, self.condition, now.step).logits_BLV
        for correction in self.sampler.corrections:
            logits_BLV = correction.adjust(logits_BLV, now, self)
        look = replace(look, logits_BLV=logits_BLV)
        if order.looks_at == "prediction":
            look = replace(look, open_BL=order(look))
        look = replace(look, ids_BL=torch.where(hidden_BL, self.draw(look), ids_BL))
        decided_BL = order(look) if order.looks_at == "draw" else look.open_BL

        ids_BL = torch.where(decided_BL | ~open_BL, look.ids_BL, state.mask_id)
        after = replace(now, ids_BL=ids_BL, decided_BL=decided_BL & hidden_BL, asked_BL=hidden_BL)
        before = replace(state, before=None)
        return replace(after, logits_BLV=logits_BLV, guided_BLV=guided_BLV, before=before)

    def draw(self, look: Look) -> Tensor:
        """One code for each open position, (B, L); the others hold 0."""
        uniform_BL = rng.uniform(self.generators, look.open_BL.shape[1]).to(look.open_BL.device)
        logits_RV = self.sampler.order.sharpen(look.logits_RV)
        temperature = self.sampler.temperature.at(look.step)
        if temperature == 0:
            return look.spread(logits_RV.argmax(-1), 0)
        logits_RV = self.sampler.filter(logits_RV / temperature)
        return look.spread(rng.categorical(logits_RV, uniform_BL[look.open_BL]), 0)


@torch.no_grad()
def decode(
    predict: Predict, condition: Condition, canvas: Canvas, generators: Generators, sampler: Sampler
) -> Iterator[DecodeState]:
    """Fill in the hidden tokens of ``canvas``; yield a state per step, the result last.

    Raises:
        ValueError: no step, more steps than tokens, not one generator per picture, a correction
            that needs guidance where there is none, or one that guidance does not go with.
    """
    check_guidance(sampler, predict)
    state = canvas.state(sampler.steps)
    if len(generators) != len(state.ids_BL):
        raise ValueError(f"{len(generators)} generators for {len(state.ids_BL)} pictures")
    hidden_BT = hidden_after(sampler.schedule, sampler.steps, canvas.hidden_BL.sum(-1))
    revises = sampler.order.revises or any(c.revises for c in sampler.corrections)
    painter = Painter(predict, condition, generators, sampler, hidden_BT)
    for index in range(sampler.steps):
        state = painter.advance(state, replace(state.step, index=index))
        for correction in sampler.corrections:
            state = correction.revise(state, painter)
        yield state
        if not (revises or state.hidden_BL.any()):
            return


def last(states: Iterable[DecodeState]) -> DecodeState:
    """The result of a decode: its last state; no other is kept in memory."""
    return deque(states, maxlen=1)[0]

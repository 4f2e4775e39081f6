"""The decode loop: how every masked generative transformer paints a picture.

Start from a grid of hidden tokens. At each step: ask the model about all of them, draw the hidden
ones, keep those that the selection order likes best, hide the rest again; repeat until nothing is
hidden (MaskGIT, arXiv 2202.04200, section 3.2).

Shape legend: B batch, L tokens, V codebook, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from demask import rng
from demask.sampling.correction import Correction
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
        steps: forward passes, from 1 to the number of hidden tokens.
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
    generators: rng.Generators
    sampler: Sampler
    hidden_BT: Tensor

    def advance(self, state: DecodeState, step: Step) -> DecodeState:
        """Decide as many tokens as the schedule asks for."""
        order, ids_BL, hidden_BL = self.sampler.order, state.ids_BL, state.hidden_BL
        open_BL = ~state.given_BL if order.revises else hidden_BL
        count_B = (open_BL.sum(-1) - self.hidden_BT[:, step.index]).clamp_min(0)
        step = replace(step, mask_ratio_B=hidden_BL.double().mean(-1), rows_BL=open_BL)
        look = Look(step, ids_BL, open_BL, count_B, self.generators)

        if order.looks_at == "positions":
            look = replace(look, open_BL=order(look))
            step = replace(step, rows_BL=look.open_BL)
        logits_BLV = self.predict(ids_BL, self.condition, step).logits_BLV
        for correction in self.sampler.corrections:
            logits_BLV = correction.adjust(logits_BLV, state, self)

        look = replace(look, logits_BLV=logits_BLV)
        if order.looks_at == "prediction":
            look = replace(look, open_BL=order(look))
        drawn_BL = torch.where(hidden_BL, self.draw(look), ids_BL)
        look = replace(look, ids_BL=drawn_BL)
        decided_BL = order(look) if order.looks_at == "draw" else look.open_BL

        keep_BL = decided_BL | ~open_BL
        return replace(
            state,
            step=step,
            ids_BL=torch.where(keep_BL, drawn_BL, state.mask_id),
            decided_BL=decided_BL & hidden_BL,
            logits_BLV=logits_BLV,
            previous_BLV=state.logits_BLV,
        )

    def draw(self, look: Look) -> Tensor:
        """One code for each open position, (B, L); the others hold 0."""
        uniform_BL = rng.uniform(self.generators, look.open_BL.shape[1]).to(look.open_BL.device)
        logits_RV = self.sampler.order.sharpen(look.logits_RV)
        temperature = self.sampler.temperature.at(look.step)
        if temperature == 0:
            drawn_R = logits_RV.argmax(-1)
        else:
            logits_RV = self.sampler.filter(logits_RV / temperature)
            drawn_R = rng.categorical(logits_RV, uniform_BL[look.open_BL])
        return look.spread(drawn_R, 0)


@torch.inference_mode()
def decode(
    predict: Predict,
    condition: Condition,
    canvas: Canvas,
    generators: rng.Generators,
    sampler: Sampler,
) -> Iterator[DecodeState]:
    """Fill in the hidden tokens of ``canvas``; yield a state per step, the result last.

    Raises:
        ValueError: no step, or more steps than there are hidden tokens.
    """
    hidden_BT = hidden_after(sampler.schedule, sampler.steps, canvas.hidden_BL.sum(-1))
    painter = Painter(predict, condition, generators, sampler, hidden_BT)
    state = canvas.state(sampler.steps)
    for index in range(sampler.steps):
        state = painter.advance(state, replace(state.step, index=index))
        for correction in sampler.corrections:
            state = correction.revise(state, painter)
        yield state

"""The decode loop (MaskGIT, arXiv 2202.04200, section 3.2).

Start from a grid of masked tokens. Each step predicts all masked tokens, samples a code for each,
unmasks the positions that the selection order chooses, and leaves the rest masked. The loop ends
when no token is masked.

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
from demask.sampling.schedule import Schedule, cosine, num_masked_after
from demask.sampling.select import Confidence, Order, SelectionInput
from demask.sampling.temperature import Temperature
from demask.types import Condition, DecodeState, Predict, Step


@dataclass(frozen=True)
class Sampler:
    """Options of the decode loop.

    Attributes:
        steps: from 1 to the number of tokens; the loop stops early once no token can change.
        schedule: the fraction of the tokens that is masked after each step.
        order: selects the positions that a step unmasks.
        temperature: the softmax temperature of each step; 0 is greedy.
        filter: top-k and top-p.
        corrections: change the logits or decoded tokens, applied in order.
    """

    steps: int = 12
    schedule: Schedule = cosine
    order: Order = field(default_factory=Confidence)
    temperature: Temperature = field(default_factory=Temperature)
    filter: Filter = field(default_factory=Filter)
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Stepper:
    """Everything that a decoding step needs; `step` makes one."""

    predict: Predict
    condition: Condition
    generators: Generators
    sampler: Sampler
    num_masked_BT: Tensor

    def step(self, state: DecodeState, step: Step) -> DecodeState:
        """Unmask as many tokens as the schedule asks for, and return the new state."""
        order, ids_BL, masked_BL = self.sampler.order, state.ids_BL, state.masked_BL
        candidate_BL = ~state.known_BL if order.may_remask else masked_BL
        count_B = (candidate_BL.sum(-1) - self.num_masked_BT[:, step.index]).clamp_min(0)
        step = replace(step, mask_ratio_B=masked_BL.double().mean(-1))
        selection = SelectionInput(
            step, ids_BL, candidate_BL, count_B, self.generators, self.condition
        )
        if order.stage == "positions":
            selection = replace(selection, candidate_BL=order(selection))
        rows_BL = selection.candidate_BL
        for correction in self.sampler.corrections:
            rows_BL = rows_BL | correction.required_positions(state)
        now = replace(state, step=replace(step, rows_BL=rows_BL))
        guided_BLV = logits_BLV = self.predict(ids_BL, self.condition, now.step).logits_BLV
        for correction in self.sampler.corrections:
            logits_BLV = correction.adjust(logits_BLV, now, self)
        selection = replace(selection, logits_BLV=logits_BLV)
        if order.stage == "prediction":
            selection = replace(selection, candidate_BL=order(selection))
        selection = replace(selection, ids_BL=torch.where(masked_BL, self.draw(selection), ids_BL))
        unmasked_now_BL = order(selection) if order.stage == "draw" else selection.candidate_BL

        ids_BL = torch.where(unmasked_now_BL | ~candidate_BL, selection.ids_BL, state.mask_id)
        after = replace(
            now, ids_BL=ids_BL, unmasked_now_BL=unmasked_now_BL & masked_BL, queried_BL=masked_BL
        )
        previous = replace(state, previous=None)
        return replace(after, logits_BLV=logits_BLV, guided_BLV=guided_BLV, previous=previous)

    def draw(self, selection: SelectionInput) -> Tensor:
        """Sample one code per candidate position, (B, L); other positions hold 0."""
        uniform_BL = rng.uniform(self.generators, selection.candidate_BL.shape[1]).to(
            selection.candidate_BL.device
        )
        logits_RV = self.sampler.order.transform_logits(selection.logits_RV)
        temperature = self.sampler.temperature.at(selection.step)
        if temperature == 0:
            return selection.scatter(logits_RV.argmax(-1), 0)
        logits_RV = self.sampler.filter(logits_RV / temperature)
        return selection.scatter(rng.categorical(logits_RV, uniform_BL[selection.candidate_BL]), 0)


@torch.no_grad()
def decode(
    predict: Predict, condition: Condition, canvas: Canvas, generators: Generators, sampler: Sampler
) -> Iterator[DecodeState]:
    """Fill in the masked tokens of ``canvas``; yield a state per step, the result last.

    Raises:
        ValueError: fewer than 1 step or more steps than tokens; a number of generators other than
            the batch size; a correction that needs guidance but has none; or an order or
            correction that does not work with this guidance.
    """
    check_guidance(sampler, predict)
    state = canvas.state(sampler.steps)
    if len(generators) != len(state.ids_BL):
        raise ValueError(f"{len(generators)} generators for {len(state.ids_BL)} images")
    num_masked_BT = num_masked_after(sampler.schedule, sampler.steps, canvas.masked_BL.sum(-1))
    may_remask = sampler.order.may_remask or any(c.may_remask for c in sampler.corrections)
    stepper = Stepper(predict, condition, generators, sampler, num_masked_BT)
    for index in range(sampler.steps):
        state = stepper.step(state, replace(state.step, index=index))
        for correction in sampler.corrections:
            state = correction.revise(state, stepper)
        yield state
        if not (may_remask or state.masked_BL.any()):
            return


def last(states: Iterable[DecodeState]) -> DecodeState:
    """The last state of a decode; earlier states are not kept in memory."""
    return deque(states, maxlen=1)[0]

"""One step of the decode loop: predict, select, draw, correct.

Shape legend: B batch, L tokens, V codebook, R rows (the candidates of all images), T steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from demask import rng
from demask.rng import Generators
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler, check_guidance
from demask.sampling.schedule import num_masked_after
from demask.sampling.select import SelectionInput, Stage
from demask.types import Condition, DecodeState, Predict, Step


class NonFiniteLogitsError(ValueError):
    """Logits that are NaN or infinite: broken weights, or a number type of too small a range."""


def check_finite(selection: SelectionInput) -> None:
    """Raise a `NonFiniteLogitsError` unless every row of the logits has a finite maximum."""
    logits_RV = selection.logits_RV
    if not bool(torch.isfinite(logits_RV.amax(-1)).all()):
        assert selection.logits_BLV is not None
        dtype = str(selection.logits_BLV.dtype).removeprefix("torch.")
        raise NonFiniteLogitsError(
            f"step {selection.step.index + 1}: the logits ({dtype}) are not finite"
        )


@dataclass(frozen=True)
class Stepper:
    """Makes the steps of one batch; it holds what stays the same from step to step.

    Attributes:
        predict: the model, with or without guidance.
        condition: what each image should show.
        generators: one random generator per image.
        sampler: the settings.
        num_masked_BT: the number of tokens that the schedule leaves masked after each step.
    """

    predict: Predict
    condition: Condition
    generators: Generators
    sampler: Sampler
    num_masked_BT: Tensor

    @classmethod
    def start(
        cls,
        predict: Predict,
        condition: Condition,
        canvas: Canvas,
        generators: Generators,
        sampler: Sampler,
        first: int = 0,
    ) -> tuple[Self, DecodeState]:
        """A stepper, and the state before its first step, the index of which is ``first``.

        Raises:
            ValueError: a number of steps below 1 or above the number of tokens, another number of
                generators than images, or a sampler that does not fit the guidance.
        """
        check_guidance(sampler, predict)
        state = replace(canvas.state(sampler.steps), condition=condition)
        if len(generators) != len(state.ids_BL):
            raise ValueError(f"{len(generators)} generators for {len(state.ids_BL)} images")
        masked_B, tokens = canvas.masked_BL.sum(-1), canvas.ids_BL.shape[1]
        num_masked_BT = num_masked_after(sampler.schedule, sampler.steps, masked_B, first, tokens)
        return cls(predict, condition, generators, sampler, num_masked_BT), state

    def step(self, state: DecodeState, step: Step) -> DecodeState:
        """The state after one step, corrections included.

        Args:
            state: the state before.
            step: the step to make; its mask ratio and rows are filled in here.
        """
        return self.revise(self.unmask(state, step))

    def finished(self, state: DecodeState) -> bool:
        """Whether no further step can change any image; ``state`` is the result of a step."""
        if state.step.index + 1 == self.sampler.steps:
            return True
        return not (self.sampler.may_remask or bool(state.masked_BL.any()))

    def revise(self, state: DecodeState) -> DecodeState:
        """Apply the corrections to the result of a step."""
        for correction in self.sampler.corrections:
            state = correction.revise(state, self)
        return state

    def unmask(self, state: DecodeState, step: Step) -> DecodeState:
        """Unmask as many tokens as the schedule determines; one forward pass."""
        selection = self.select("positions", self.selection_input(state, step))
        rows_BL = selection.candidate_BL
        for correction in self.sampler.corrections:
            rows_BL = rows_BL | correction.required_positions(state)
        now = replace(state, step=replace(selection.step, rows_BL=rows_BL))
        generators = self.generators if self.sampler.start.one_pass else None
        step = replace(now.step, generators=generators)
        guided_BLV = logits_BLV = self.predict(state.ids_BL, self.condition, step).logits_BLV
        for correction in self.sampler.corrections:
            logits_BLV = correction.adjust(logits_BLV, now, self)
        selection = self.select("prediction", replace(selection, logits_BLV=logits_BLV))
        ids_BL = torch.where(state.masked_BL, self.draw(selection), state.ids_BL)
        selection = self.select("draw", replace(selection, ids_BL=ids_BL))
        return replace(
            self.keep_selected(now, selection),
            logits_BLV=logits_BLV,
            guided_BLV=guided_BLV,
            previous=replace(state, previous=None),
        )

    def selection_input(self, state: DecodeState, step: Step) -> SelectionInput:
        """The candidates of a step, and how many of them the schedule unmasks in each image."""
        candidate_BL = self.candidate_BL(state)
        count_B = (candidate_BL.sum(-1) - self.num_masked_BT[:, step.index]).clamp_min(0)
        step = replace(step, mask_ratio_B=state.masked_BL.double().mean(-1))
        return SelectionInput(
            step, state.ids_BL, candidate_BL, count_B, self.generators, self.condition
        )

    def candidate_BL(self, state: DecodeState) -> Tensor:
        """The positions that the order may select (B, L)."""
        return ~state.known_BL if self.sampler.order.may_remask else state.masked_BL

    def select(self, stage: Stage, selection: SelectionInput) -> SelectionInput:
        """Narrow the candidates to those that the order selects, if it selects at this stage."""
        return self.sampler.order.select_at(stage, selection)

    def keep_selected(self, now: DecodeState, selection: SelectionInput) -> DecodeState:
        """Keep the drawn codes at the selected positions and mask the other candidates."""
        masked_BL, selected_BL = now.masked_BL, selection.candidate_BL
        kept_BL = selected_BL | ~self.candidate_BL(now)
        return replace(
            now,
            ids_BL=torch.where(kept_BL, selection.ids_BL, now.mask_id),
            unmasked_now_BL=selected_BL & masked_BL,
            queried_BL=masked_BL,
        )

    def draw(self, selection: SelectionInput) -> Tensor:
        """One code for each candidate position (B, L); 0 elsewhere.

        Raises:
            NonFiniteLogitsError: there is no most likely code, as after an overflow.
        """
        check_finite(selection)
        uniform_BL = rng.uniform(self.generators, selection.candidate_BL.shape[1]).to(
            selection.candidate_BL.device
        )
        logits_RV = self.sampler.order.transform_logits(selection.logits_RV)
        temperature = self.sampler.temperature.at(selection.step)
        if temperature == 0:
            return selection.scatter(logits_RV.argmax(-1), 0)
        logits_RV = self.sampler.filter(logits_RV / temperature)
        return selection.scatter(rng.categorical(logits_RV, uniform_BL[selection.candidate_BL]), 0)

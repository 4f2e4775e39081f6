"""Generate the images of several requests as one batch, each as if it were alone.

Shape legend: B batch, L tokens, T steps, V codebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from demask import rng
from demask.batching.fused_guidance import ToLogits, fused_predictor, identity
from demask.batching.invariance import CheckedStepper, Rounding, can_share
from demask.generator import GeneratedImage, Generator, Job
from demask.sampling.decode import Stepper
from demask.sampling.schedule import num_masked_after
from demask.types import Condition, DecodeState, Predict, Prediction, Step

FIRST_CHECKS = 24
"""So many images are compared with themselves alone at two steps a batch; later, at one."""


@dataclass
class BatchedDecode:
    """A batch on its way; `step` makes a step.

    Attributes:
        generator: the model.
        job: the images; all have the same settings and grid.
        stepper: the loop's, of an image alone.
        state: after the latest step.
        rounding: measured over all batches of these settings.
        batched: the stepper's predictor, for several images, and what makes logits of it.
        repeated: how many images were generated again, alone, in the latest step.
    """

    generator: Generator
    job: Job
    stepper: Stepper
    state: DecodeState
    rounding: Rounding
    batched: tuple[Predict, ToLogits]
    repeated: int = 0
    _index: int = 0
    _to_logits: ToLogits = identity  # makes logits of the state's
    _probe: int = 0  # which image, at which step beside the first, is compared with itself alone

    @classmethod
    def start(
        cls,
        generator: Generator,
        job: Job,
        condition: Condition,
        rounding: Rounding,
    ) -> BatchedDecode:
        """A batch before its first step.

        Raises:
            ValueError: several images under settings that cannot share a batch.
        """
        canvas = generator.blank(job)
        sampler = generator.sampler(job.settings)
        if len(job.seeds) > 1 and not can_share(job.settings):
            raise ValueError("images of these settings are generated one at a time")
        num_masked_BT = num_masked_after(sampler.schedule, sampler.steps, canvas.masked_BL.sum(-1))
        stepper = Stepper(
            generator.guided(job.settings),
            condition,
            rng.image_generators(job.seeds),
            sampler,
            num_masked_BT,
        )
        state = canvas.state(sampler.steps)
        batched = fused_predictor(generator, job.settings)
        return cls(generator, job, stepper, state, rounding, batched, _probe=rounding.checks)

    @property
    def done(self) -> bool:
        """Whether no step can change any image."""
        sampler = self.stepper.sampler
        may_remask = sampler.order.may_remask or any(c.may_remask for c in sampler.corrections)
        over = self._index > 0 and not (may_remask or bool(self.state.masked_BL.any()))
        return over or self._index == sampler.steps

    @property
    def steps_done(self) -> int:
        """How many steps were made."""
        return self._index

    @torch.no_grad()
    def step(self) -> None:
        """Make the next step, as `demask.sampling.decode.decode` does."""
        self.repeated = 0
        step = replace(self.state.step, index=self._index)
        state = self._shared(step.index) if len(self.job.seeds) > 1 else self._alone(step.index)
        self.state, self._index = state, self._index + 1

    def _alone(self, index: int) -> DecodeState:
        """A step of a batch of one."""
        self._to_logits = identity
        state = self.stepper.step(self.state, replace(self.state.step, index=index))
        for correction in self.stepper.sampler.corrections:
            state = correction.revise(state, self.stepper)
        return state

    def _shared(self, index: int) -> DecodeState:
        """A step of several images; those near a tie make it again, alone."""
        previous = replace(self.state, previous=None)
        step = replace(previous.step, index=index)
        scale = float(self.job.settings.scale(step))
        copies = [generator.get_state() for generator in self.stepper.generators]
        predict, to_logits = self.batched

        def compared(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
            """Now and then, one image is asked for alone, too."""
            prediction, position = predict(ids_BL, condition, step), self._probe % len(copies)
            first = index == 0 and self.rounding.checks < FIRST_CHECKS
            if first or index == self._probe % step.steps:
                alone = self._again(previous, index, position, copies[position])
                self.rounding.measure(to_logits(prediction.logits_BLV[position]), alone, scale)
            return prediction

        tolerance = partial(self.rounding.tolerance, scale)
        stepper = CheckedStepper.of(self.stepper, compared, to_logits, tolerance)
        after, self._to_logits = stepper.step(previous, step), to_logits
        sure_B = stepper.invariant_images(after.unmasked_now_BL, cloned(copies))
        for position in (~sure_B).nonzero()[:, 0].tolist():
            alone = self._again(previous, index, position, copies[position])
            after.ids_BL[position] = alone.ids_BL[0]
            after.unmasked_now_BL[position] = alone.unmasked_now_BL[0]
            self.repeated += 1
        return after

    def _again(self, previous: DecodeState, index: int, position: int, copy: Tensor) -> DecodeState:
        """The same step of one image, in a batch of one."""
        stepper = replace(stepper_of(self.stepper, [position]), generators=cloned([copy]))
        single = take(previous, [position])
        return stepper.step(single, replace(single.step, index=index))

    def keep(self, positions: Sequence[int]) -> None:
        """Go on with some of the images alone."""
        job = self.job
        seeds = [job.seeds[i] for i in positions]
        self.job = replace(
            job, parsed_conditions=[job.parsed_conditions[i] for i in positions], seeds=seeds
        )
        self.stepper = stepper_of(self.stepper, positions)
        self.state = take(self.state, positions)

    def preview(self, position: int) -> Tensor:
        """An image as it stands, bytes (H, W, 3)."""
        state = take(self.state, [position])
        if state.logits_BLV is not None:
            state = replace(state, logits_BLV=self._to_logits(state.logits_BLV))
        return self.generator.preview(state)[0]

    def finish(self) -> Iterator[GeneratedImage]:
        """The finished images, each decoded to pixels alone."""
        for position, (parsed, seed) in enumerate(
            zip(self.job.parsed_conditions, self.job.seeds, strict=True)
        ):
            single = replace(self.job, parsed_conditions=[parsed], seeds=[seed])
            yield from self.generator.finish(single, take(self.state, [position]))


def take(state: DecodeState, positions: Sequence[int]) -> DecodeState:
    """The state of some images of a batch."""
    index = torch.tensor(positions)
    changes: dict[str, Any] = {name: tensor[index] for name, tensor in tensors(state)}
    of_step: dict[str, Any] = {name: tensor[index] for name, tensor in tensors(state.step)}
    previous = None if state.previous is None else take(state.previous, positions)
    return replace(state, **changes, step=replace(state.step, **of_step), previous=previous)


def tensors(holder: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that hold a row for each image."""
    values = [(f.name, getattr(holder, f.name)) for f in fields(holder)]
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def stepper_of(stepper: Stepper, positions: Sequence[int]) -> Stepper:
    """The stepper of some images of a batch, with their own generators."""
    index = torch.tensor(positions)
    return replace(
        stepper,
        condition=stepper.condition.take(index),
        generators=[stepper.generators[i] for i in positions],
        num_masked_BT=stepper.num_masked_BT[index],
    )


def cloned(copies: Sequence[Tensor]) -> list[torch.Generator]:
    """Generators as they were when their states were copied."""
    generators = [torch.Generator() for _ in copies]
    for generator, copy in zip(generators, copies, strict=True):
        generator.set_state(copy)
    return generators

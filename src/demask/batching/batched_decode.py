"""Generate the images of several requests as one batch, each exactly as if it were alone.

Shape legend: B batch, L tokens, V codebook.
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
from demask.sampling.stepper import Stepper
from demask.types import Condition, DecodeState, Predict, Prediction, Step

FIRST_CHECKS = 24
"""The first images measured per `Rounding`: two steps per batch are measured until then, one
afterwards."""


@dataclass
class BatchedDecode:
    """A running batch; each call of `step` makes one step.

    A batch of one image runs the same `Stepper` as `demask.sampling.decode.decode`. A batch of
    several runs a `CheckedStepper`; images whose decisions rounding could change repeat the step
    alone.

    Attributes:
        generator: the model.
        job: the images; all have the same settings and layout.
        stepper: makes the steps of a single image.
        state: the state after the latest step.
        rounding: the rounding error, measured over all batches of these settings.
        batched: the predictor for several images, and the function that turns its predictions
            into logits.
        steps_done: the number of steps made.
        repeated: the number of images that repeated the latest step alone.
    """

    generator: Generator
    job: Job
    stepper: Stepper
    state: DecodeState
    rounding: Rounding
    batched: tuple[Predict, ToLogits]
    steps_done: int = 0
    repeated: int = 0
    _to_logits: ToLogits = identity  # turns ``state.logits_BLV`` into logits
    _probe: int = 0  # which image is measured, and in which step after the first

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
            ValueError: several images, with settings that do not allow sharing a batch.
        """
        if len(job.seeds) > 1 and not can_share(job.settings):
            raise ValueError("images with these settings are generated one at a time")
        stepper, state = Stepper.start(
            generator.guided(job.settings),
            condition,
            generator.blank(job),
            rng.image_generators(job.seeds),
            generator.sampler(job.settings),
        )
        batched = fused_predictor(generator, job.settings)
        return cls(generator, job, stepper, state, rounding, batched, _probe=rounding.checks)

    @property
    def done(self) -> bool:
        """Whether no further step can change any image."""
        return self.steps_done > 0 and self.stepper.finished(self.state)

    @torch.no_grad()
    def step(self) -> None:
        """Make the next step."""
        self.repeated = 0
        step = replace(self.state.step, index=self.steps_done)
        if len(self.job.seeds) > 1:
            self.state = self._shared_step(replace(self.state, previous=None), step)
        else:
            self._to_logits = identity
            self.state = self.stepper.step(self.state, step)
        self.steps_done += 1

    def _shared_step(self, previous: DecodeState, step: Step) -> DecodeState:
        """A step of several images; images near a tie repeat it alone."""
        scale = float(self.job.settings.scale(step))
        rng_states = [generator.get_state() for generator in self.stepper.generators]
        predict, self._to_logits = self.batched

        def measured(ids_BL: Tensor, condition: Condition, asked: Step) -> Prediction:
            """Predict the batch; in some steps, measure one image against itself alone."""
            prediction, position = predict(ids_BL, condition, asked), self._probe % len(rng_states)
            first = step.index == 0 and self.rounding.checks < FIRST_CHECKS
            if first or step.index == self._probe % step.steps:
                alone = self._step_alone(previous, step, position, rng_states[position])
                shared_LV = self._to_logits(prediction.logits_BLV[position])
                self.rounding.measure(shared_LV, alone, scale)
            return prediction

        tolerance = partial(self.rounding.tolerance, scale)
        stepper = CheckedStepper.of(self.stepper, measured, self._to_logits, tolerance)
        unmasked = stepper.unmask(previous, step)
        invariant_B = stepper.invariant_images(unmasked.unmasked_now_BL, cloned(rng_states))
        after = stepper.revise(unmasked)
        for position in (~invariant_B).nonzero()[:, 0].tolist():
            alone = self._step_alone(previous, step, position, rng_states[position])
            after.ids_BL[position] = alone.ids_BL[0]
            after.unmasked_now_BL[position] = alone.unmasked_now_BL[0]
            self.repeated += 1
        return after

    def _step_alone(
        self, previous: DecodeState, step: Step, position: int, rng_state: Tensor
    ) -> DecodeState:
        """The same step of one image, in a batch of one."""
        stepper = replace(stepper_of(self.stepper, [position]), generators=cloned([rng_state]))
        single = take(previous, [position])
        return stepper.step(single, replace(single.step, index=step.index))

    def keep(self, positions: Sequence[int]) -> None:
        """Drop all images but those at ``positions``."""
        job = self.job
        self.job = replace(
            job,
            parsed_conditions=[job.parsed_conditions[i] for i in positions],
            seeds=[job.seeds[i] for i in positions],
        )
        self.stepper = stepper_of(self.stepper, positions)
        self.state = take(self.state, positions)

    def preview(self, position: int) -> Tensor:
        """The unfinished image at ``position``, bytes (H, W, 3)."""
        state = take(self.state, [position])
        if state.logits_BLV is not None:
            state = replace(state, logits_BLV=self._to_logits(state.logits_BLV))
        return self.generator.preview(state)[0]

    def finish(self) -> Iterator[GeneratedImage]:
        """The finished images; each is decoded to pixels in a batch of one."""
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
    condition = None if state.condition is None else state.condition.take(index)
    step = replace(state.step, **of_step)
    return replace(state, **changes, step=step, previous=previous, condition=condition)


def tensors(holder: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that hold a tensor with a row per image, as (name, tensor)."""
    values = [(f.name, getattr(holder, f.name)) for f in fields(holder)]
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def stepper_of(stepper: Stepper, positions: Sequence[int]) -> Stepper:
    """The stepper of some images of a batch, with the same generators."""
    index = torch.tensor(positions)
    return replace(
        stepper,
        condition=stepper.condition.take(index),
        generators=[stepper.generators[i] for i in positions],
        num_masked_BT=stepper.num_masked_BT[index],
    )


def cloned(rng_states: Sequence[Tensor]) -> list[torch.Generator]:
    """New generators with the given states."""
    generators = [torch.Generator() for _ in rng_states]
    for generator, rng_state in zip(generators, rng_states, strict=True):
        generator.set_state(rng_state)
    return generators

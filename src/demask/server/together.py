"""Paint the pictures of several requests as one batch, each as if it were alone.

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
from demask.generator import Generator, Job, Picture
from demask.sampling.decode import Painter
from demask.sampling.schedule import hidden_after
from demask.server.early import Codes, of_batches, same
from demask.server.steady import Careful, Rounding, can_share
from demask.types import Condition, DecodeState, Predict, Prediction, Step

FIRST_CHECKS = 24
"""So many pictures are compared with themselves alone at two steps a batch; later, at one."""


@dataclass
class Together:
    """A batch on its way; `advance` makes a step.

    Attributes:
        generator: the model.
        job: the pictures; all have the same settings and grid.
        painter: the loop's, of a picture alone.
        state: after the latest step.
        rounding: measured over all batches of these settings.
        batched: the painter's predictor, for several pictures, and what makes logits of it.
        repeated: how many pictures were painted again, alone, in the latest step.
    """

    generator: Generator
    job: Job
    painter: Painter
    state: DecodeState
    rounding: Rounding
    batched: tuple[Predict, Codes]
    repeated: int = 0
    _index: int = 0
    _codes: Codes = same  # makes logits of the state's
    _probe: int = 0  # which picture, at which step beside the first, is compared with itself alone

    @classmethod
    def start(
        cls,
        generator: Generator,
        job: Job,
        condition: Condition,
        rounding: Rounding,
    ) -> Together:
        """A batch before its first step.

        Raises:
            ValueError: several pictures under settings that cannot share a batch.
        """
        canvas = generator.blank(job)
        sampler = generator.sampler(job.settings)
        if len(job.seeds) > 1 and not can_share(job.settings):
            raise ValueError("pictures of these settings are painted one at a time")
        hidden_BT = hidden_after(sampler.schedule, sampler.steps, canvas.hidden_BL.sum(-1))
        painter = Painter(
            generator.guided(job.settings),
            condition,
            rng.image_generators(job.seeds),
            sampler,
            hidden_BT,
        )
        state = canvas.state(sampler.steps)
        batched = of_batches(generator, job.settings)
        return cls(generator, job, painter, state, rounding, batched, _probe=rounding.checks)

    @property
    def done(self) -> bool:
        """Whether no step can change any picture."""
        sampler = self.painter.sampler
        revises = sampler.order.revises or any(c.revises for c in sampler.corrections)
        over = self._index > 0 and not (revises or bool(self.state.hidden_BL.any()))
        return over or self._index == sampler.steps

    @property
    def steps_done(self) -> int:
        """How many steps were made."""
        return self._index

    @torch.no_grad()
    def advance(self) -> None:
        """Make the next step, as `demask.sampling.decode.decode` does."""
        self.repeated = 0
        step = replace(self.state.step, index=self._index)
        state = self._shared(step.index) if len(self.job.seeds) > 1 else self._alone(step.index)
        self.state, self._index = state, self._index + 1

    def _alone(self, index: int) -> DecodeState:
        """A step of a batch of one."""
        self._codes = same
        state = self.painter.advance(self.state, replace(self.state.step, index=index))
        for correction in self.painter.sampler.corrections:
            state = correction.revise(state, self.painter)
        return state

    def _shared(self, index: int) -> DecodeState:
        """A step of several pictures; those near a tie make it again, alone."""
        before = replace(self.state, before=None)
        step = replace(before.step, index=index)
        scale = float(self.job.settings.scale(step))
        copies = [generator.get_state() for generator in self.painter.generators]
        predict, codes = self.batched

        def compared(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
            """Now and then, one picture is asked for alone, too."""
            prediction, position = predict(ids_BL, condition, step), self._probe % len(copies)
            first = index == 0 and self.rounding.checks < FIRST_CHECKS
            if first or index == self._probe % step.steps:
                alone = self._again(before, index, position, copies[position])
                self.rounding.measure(codes(prediction.logits_BLV[position]), alone, scale)
            return prediction

        tolerance = partial(self.rounding.tolerance, scale)
        painter = Careful.of(self.painter, compared, codes, tolerance)
        after, self._codes = painter.advance(before, step), codes
        sure_B = painter.steady(after.decided_BL, cloned(copies))
        for position in (~sure_B).nonzero()[:, 0].tolist():
            alone = self._again(before, index, position, copies[position])
            after.ids_BL[position] = alone.ids_BL[0]
            after.decided_BL[position] = alone.decided_BL[0]
            self.repeated += 1
        return after

    def _again(self, before: DecodeState, index: int, position: int, copy: Tensor) -> DecodeState:
        """The same step of one picture, in a batch of one."""
        painter = replace(painter_of(self.painter, [position]), generators=cloned([copy]))
        single = take(before, [position])
        return painter.advance(single, replace(single.step, index=index))

    def keep(self, positions: Sequence[int]) -> None:
        """Go on with some of the pictures alone."""
        job = self.job
        seeds = [job.seeds[i] for i in positions]
        self.job = replace(job, subjects=[job.subjects[i] for i in positions], seeds=seeds)
        self.painter = painter_of(self.painter, positions)
        self.state = take(self.state, positions)

    def preview(self, position: int) -> Tensor:
        """A picture as it stands, bytes (H, W, 3)."""
        state = take(self.state, [position])
        if state.logits_BLV is not None:
            state = replace(state, logits_BLV=self._codes(state.logits_BLV))
        return self.generator.preview(state)[0]

    def finish(self) -> Iterator[Picture]:
        """The finished pictures, each decoded to pixels alone."""
        for position, (subject, seed) in enumerate(
            zip(self.job.subjects, self.job.seeds, strict=True)
        ):
            single = replace(self.job, subjects=[subject], seeds=[seed])
            yield from self.generator.finish(single, take(self.state, [position]))


def take(state: DecodeState, positions: Sequence[int]) -> DecodeState:
    """The state of some pictures of a batch."""
    index = torch.tensor(positions)
    changes: dict[str, Any] = {name: tensor[index] for name, tensor in tensors(state)}
    of_step: dict[str, Any] = {name: tensor[index] for name, tensor in tensors(state.step)}
    before = None if state.before is None else take(state.before, positions)
    return replace(state, **changes, step=replace(state.step, **of_step), before=before)


def tensors(holder: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that hold a row for each picture."""
    values = [(f.name, getattr(holder, f.name)) for f in fields(holder)]
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def painter_of(painter: Painter, positions: Sequence[int]) -> Painter:
    """The painter of some pictures of a batch, with their own generators."""
    index = torch.tensor(positions)
    return replace(
        painter,
        condition=painter.condition.take(index),
        generators=[painter.generators[i] for i in positions],
        hidden_BT=painter.hidden_BT[index],
    )


def cloned(copies: Sequence[Tensor]) -> list[torch.Generator]:
    """Generators as they were when their states were copied."""
    generators = [torch.Generator() for _ in copies]
    for generator, copy in zip(generators, copies, strict=True):
        generator.set_state(copy)
    return generators

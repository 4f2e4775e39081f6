"""Generate a batch of queued requests; a failure of one does not affect the others."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from PIL import Image

from demask.batching.batched_decode import BatchedDecode
from demask.batching.invariance import Rounding
from demask.conditioning import ParsedCondition
from demask.generator import GeneratedImage, Generator, Job
from demask.server.engine.edits import InterruptibleGenerator, run_edit
from demask.server.engine.observer import EngineObserver
from demask.server.engine.request import EngineError, Partial, Ticket
from demask.settings import Settings
from demask.types import Condition

LOG = logging.getLogger(__name__)
T = TypeVar("T")
MAX_CONDITIONS = 256
"""The number of cached conditions, a few dozen kilobytes each."""


@dataclass(frozen=True)
class QueuedRequest:
    """A ticket in the queue, with its job of one image.

    Attributes:
        ticket: the ticket.
        job: what is to be generated.
        work: see `demask.server.engine.engine.Engine.work`.
        turn: the place in the queue; see `demask.server.engine.fair_queue`.
    """

    ticket: Ticket
    job: Job
    work: float = 1.0
    turn: float = 0.0

    @property
    def kind(self) -> tuple[str, Settings]:
        """Requests of the same kind fit into one batch; the settings include the size."""
        return self.ticket.request.model, self.job.settings


@dataclass
class Worker:
    """Generates batches on the calling thread.

    Attributes:
        generators: the models by name.
        observer: receives progress callbacks.
    """

    generators: Mapping[str, Generator]
    observer: EngineObserver
    _roundings: dict[tuple[str, str], Rounding] = field(default_factory=dict)
    _conditions: OrderedDict[object, Condition] = field(default_factory=OrderedDict)

    def run(self, batch: list[QueuedRequest]) -> Iterator[None]:
        """Generate a batch; if that fails, generate each of its images alone.

        Yields after each step and each decoded image, so that other work may be done between.
        """
        try:
            if batch[0].ticket.request.edit is not None:
                yield from self._run_edit(batch[0])
            else:
                yield from self._run_batch(batch)
        except Exception as error:
            if len(batch) == 1:
                self.fail(batch[0].ticket, error)
                return
            for one in batch:
                if not one.ticket.done:
                    yield from self.run([one])

    def _run_edit(self, one: QueuedRequest) -> Iterator[None]:
        generator = self.generators[one.ticket.request.model]
        progress = self._timed("condition", lambda: run_edit(generator, one.ticket))
        while (each := self._timed("steps", lambda: next(progress, None))) is not None:
            if isinstance(each, GeneratedImage):
                self._hand_over(one, each)
            yield

    def _run_batch(self, batch: list[QueuedRequest]) -> Iterator[None]:
        """Run the batch step by step: drop cancelled requests, emit previews, return results."""
        jobs = [one.job for one in batch]
        generator = InterruptibleGenerator.of(
            self.generators[batch[0].ticket.request.model], [one.ticket for one in batch]
        )
        job = replace(
            jobs[0],
            parsed_conditions=[job.parsed_conditions[0] for job in jobs],
            seeds=[job.seeds[0] for job in jobs],
        )
        condition = self._timed("condition", lambda: self._condition(generator, job))
        rounding = self._roundings.setdefault(
            (generator.name, job.settings.guidance_method), Rounding()
        )
        decoding = BatchedDecode.start(generator, job, condition, rounding)
        while not decoding.done:
            batch = self._still_wanted(decoding, batch)
            if not batch:
                return
            self._timed("steps", decoding.step)
            if decoding.repeated:
                self.observer.repeated(decoding.repeated)
            if not decoding.done:
                self._show(decoding, batch)
            yield
        batch = self._still_wanted(decoding, batch)
        images = decoding.finish()
        for one in batch:
            self._hand_over(one, self._timed("pixels", lambda: next(images)))
            yield

    def _still_wanted(
        self, decoding: BatchedDecode, batch: list[QueuedRequest]
    ) -> list[QueuedRequest]:
        """The requests that are still wanted; the others leave the batch."""
        going = [i for i, one in enumerate(batch) if one.ticket.gave_up is None]
        if len(going) < len(batch):
            for one in batch:
                self.fail(one.ticket, one.ticket.gave_up)
            if going:
                decoding.keep(going)
        return [batch[i] for i in going]

    def _show(self, decoding: BatchedDecode, batch: list[QueuedRequest]) -> None:
        """Report unfinished images to the requests that want one after this step."""
        done, steps = decoding.steps_done, decoding.job.settings.steps
        for position, one in enumerate(batch):
            number = shown_after(done, steps, one.ticket.request.partials)
            if number is not None:
                image = Image.fromarray(decoding.preview(position).numpy())
                one.ticket.report(Partial(image, number, done, steps))

    def _hand_over(self, one: QueuedRequest, image: GeneratedImage) -> None:
        self.observer.generated(one.ticket.request.model)
        one.ticket.report(image)

    def _condition(self, generator: Generator, job: Job) -> Condition:
        """The condition of a batch; each one is computed alone and cached."""
        parts = []
        for parsed, seed in zip(job.parsed_conditions, job.seeds, strict=True):
            key = (generator.name, parsed, job.settings, job.layout)
            if key not in self._conditions:
                self._conditions[key] = read(generator, job, parsed, seed)
            self._conditions.move_to_end(key)
            parts.append(self._conditions[key])
        while len(self._conditions) > MAX_CONDITIONS:
            self._conditions.popitem(last=False)
        return Condition.join(parts)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.observer.spent(stage, time.perf_counter() - start)
        return result

    def fail(self, ticket: Ticket, error: BaseException | None) -> None:
        """End a request with an error; does nothing if it has ended or ``error`` is None."""
        if error is not None and not ticket.done:
            self.observer.failed(type(error).__name__)
            if not isinstance(error, EngineError | ValueError):
                LOG.error("an image could not be generated", exc_info=error)
            ticket.report(error)


def read(generator: Generator, job: Job, parsed: ParsedCondition, seed: int) -> Condition:
    """The condition of one image, computed in a batch of one."""
    return generator.job_condition(replace(job, parsed_conditions=[parsed], seeds=[seed]))


def shown_after(done: int, steps: int, partials: int) -> int | None:
    """The number of the unfinished image to report after ``done`` steps, or None.

    ``partials`` images are spread evenly over the steps, the finished one not counted.
    """
    if done >= steps or partials < 1:
        return None
    moments: Sequence[int] = sorted(
        {round(k * steps / (partials + 1)) for k in range(1, partials + 1)} - {0, steps}
    )
    return moments.index(done) if done in moments else None

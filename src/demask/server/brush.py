"""The engine's brush: paint a batch of tickets, and let none of them take others down."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from PIL import Image

from demask.conditioning import Subject
from demask.generator import Generator, Job, Picture
from demask.server.editor import repaint
from demask.server.request import EngineError, Partial, Ticket
from demask.server.steady import Rounding
from demask.server.together import Together
from demask.server.watch import Watch
from demask.settings import Settings
from demask.types import Condition

LOG = logging.getLogger(__name__)
T = TypeVar("T")
MOST_CONDITIONS = 256  # read prompts that are remembered, a few dozen kilobytes each


@dataclass(frozen=True)
class Waiting:
    """A ticket in the queue, with its job of one picture."""

    ticket: Ticket
    job: Job

    @property
    def kind(self) -> tuple[str, Settings]:
        """Tickets of one kind fit into one batch; the settings hold the size."""
        return self.ticket.request.model, self.job.settings


@dataclass
class Brush:
    """Paints on the thread that calls it.

    Attributes:
        generators: the models by name.
        watch: hears what happens.
    """

    generators: Mapping[str, Generator]
    watch: Watch
    _roundings: dict[tuple[str, str], Rounding] = field(default_factory=dict)
    _conditions: OrderedDict[object, Condition] = field(default_factory=OrderedDict)

    def paint(self, batch: list[Waiting]) -> None:
        """Paint a batch; if that fails, each of its pictures alone: none takes others down."""
        try:
            if batch[0].ticket.request.edit is not None:
                self._repaint(batch[0])
            else:
                self._together(batch)
        except Exception as error:
            if len(batch) == 1:
                self.fail(batch[0].ticket, error)
                return
            for one in batch:
                if not one.ticket.done:
                    self.paint([one])

    def _repaint(self, one: Waiting) -> None:
        generator = self.generators[one.ticket.request.model]
        picture = self._timed("steps", lambda: repaint(generator, one.ticket))
        self._hand_over(one, picture)

    def _together(self, batch: list[Waiting]) -> None:
        """Step by step: drop who gave up, show who wants to see, hand over at the end."""
        jobs = [one.job for one in batch]
        generator = self.generators[batch[0].ticket.request.model]
        job = replace(
            jobs[0],
            subjects=[job.subjects[0] for job in jobs],
            seeds=[job.seeds[0] for job in jobs],
        )
        condition = self._timed("condition", lambda: self._condition(generator, job))
        rounding = self._roundings.setdefault(
            (generator.name, job.settings.guidance_method), Rounding()
        )
        painting = Together.start(generator, job, condition, rounding)
        while not painting.done:
            batch = self._still_wanted(painting, batch)
            if not batch:
                return
            self._timed("steps", painting.advance)
            if painting.repeated:
                self.watch.repeated(painting.repeated)
            if not painting.done:
                self._show(painting, batch)
        pictures = self._timed("pixels", lambda: list(painting.finish()))
        for one, picture in zip(batch, pictures, strict=True):
            self._hand_over(one, picture)

    def _still_wanted(self, painting: Together, batch: list[Waiting]) -> list[Waiting]:
        """Drop those for whom nobody waits."""
        going = [i for i, one in enumerate(batch) if one.ticket.gave_up is None]
        if len(going) < len(batch):
            for one in batch:
                self.fail(one.ticket, one.ticket.gave_up)
            if going:
                painting.keep(going)
        return [batch[i] for i in going]

    def _show(self, painting: Together, batch: list[Waiting]) -> None:
        """Unfinished pictures for those who want one after this step."""
        done, steps = painting.steps_done, painting.job.settings.steps
        for position, one in enumerate(batch):
            number = shown_after(done, steps, one.ticket.request.partials)
            if number is not None:
                image = Image.fromarray(painting.preview(position).numpy())
                one.ticket.report(Partial(image, number, done, steps))

    def _hand_over(self, one: Waiting, picture: Picture) -> None:
        self.watch.painted(one.ticket.request.model)
        one.ticket.report(picture)

    def _condition(self, generator: Generator, job: Job) -> Condition:
        """What the transformer reads for a batch, each prompt read alone and remembered."""
        parts = []
        for subject, seed in zip(job.subjects, job.seeds, strict=True):
            key = (generator.name, subject, job.settings, job.grid)
            if key not in self._conditions:
                self._conditions[key] = read(generator, job, subject, seed)
            self._conditions.move_to_end(key)
            parts.append(self._conditions[key])
        while len(self._conditions) > MOST_CONDITIONS:
            self._conditions.popitem(last=False)
        return Condition.join(parts)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.watch.spent(stage, time.perf_counter() - start)
        return result

    def fail(self, ticket: Ticket, error: BaseException | None) -> None:
        """There will be no picture; nothing for a ticket that is done, or without an error."""
        if error is not None and not ticket.done:
            self.watch.failed(type(error).__name__)
            if not isinstance(error, EngineError | ValueError):
                LOG.error("a picture could not be painted", exc_info=error)
            ticket.report(error)


def read(generator: Generator, job: Job, subject: Subject, seed: int) -> Condition:
    """The condition of one picture, computed alone."""
    return generator.job_condition(replace(job, subjects=[subject], seeds=[seed]))


def shown_after(done: int, steps: int, partials: int) -> int | None:
    """The number of the unfinished picture that is shown after so many steps, or None.

    ``partials`` of them are spread evenly; the finished picture is not one of them.
    """
    if done >= steps or partials < 1:
        return None
    moments: Sequence[int] = sorted(
        {round(k * steps / (partials + 1)) for k in range(1, partials + 1)} - {0, steps}
    )
    return moments.index(done) if done in moments else None

"""One thread that paints what everybody asks for, batching what fits together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from PIL import Image

from demask.conditioning import Subject
from demask.generator import Generator, Job, Picture
from demask.registry import unknown
from demask.server.editor import repaint
from demask.server.request import BusyError, ClosedError, EngineError, Partial, Request, Ticket
from demask.server.steady import Rounding, can_share
from demask.server.together import Together
from demask.server.watch import Watch
from demask.settings import Settings
from demask.types import Condition

LOG = logging.getLogger(__name__)
T = TypeVar("T")
MOST_CONDITIONS = 256  # read prompts that are remembered, a few dozen kilobytes each


@dataclass(frozen=True)
class Limits:
    """How much the engine takes on.

    Attributes:
        queue: pictures that may wait; more are refused.
        tokens: of the pictures of one batch, together.
        pixels: of one picture, painted or edited; a model's own size is always allowed.
        seconds: from asking to the finished picture; None for no limit.
    """

    queue: int = 128
    tokens: int = 1024
    pixels: int = 512 * 512
    seconds: float | None = 120.0


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
class Engine:
    """Paints on a thread of its own, from `start` to `close`; a context manager does both.

    Every picture is the one that `Generator.generate` gives for its seed and settings alone,
    whatever it shares a batch with; see `demask.server.steady`.

    Attributes:
        generators: the models by name.
        limits: how much is taken on.
        watch: hears what happens.
    """

    generators: Mapping[str, Generator]
    limits: Limits = field(default_factory=Limits)
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._roundings: dict[tuple[str, str], Rounding] = {}
        self._seconds_each = 0.0  # of the latest batches, running mean
        self._conditions: OrderedDict[object, Condition] = OrderedDict()

    def start(self) -> Engine:
        """Begin to paint."""
        assert self._thread is None, "an engine starts once"
        self._thread = threading.Thread(target=self._run, name="demask-engine", daemon=True)
        self._thread.start()
        return self

    def close(self, timeout: float | None = None) -> None:
        """Refuse what comes, finish what was taken on, and wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether requests are taken and painted."""
        return not self._closed and self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many pictures wait."""
        with self._changed:
            return len(self._queue)

    def submit(self, *requests: Request) -> list[Ticket]:
        """Take on all of the requests, or none.

        Raises:
            ValueError: an unknown model, class or setting, or a number out of range.
            BusyError: there is no room in the queue.
            ClosedError: the engine stops.
        """
        seconds = self.limits.seconds
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        waiting = [Waiting(Ticket(request, deadline), self.job(request)) for request in requests]
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping and takes no more requests")
            self._drop()
            if len(self._queue) + len(waiting) > self.limits.queue:
                raise BusyError(f"{len(self._queue)} pictures wait already; try again later")
            self._queue += waiting
            self.watch.queued(len(self._queue))
            self._changed.notify_all()
        return [one.ticket for one in waiting]

    def job(self, request: Request) -> Job:
        """What the model is to do, after checking all that can be checked at once.

        Raises:
            ValueError: an unknown model, class or setting, or a number out of range.
        """
        if request.model not in self.generators:
            raise ValueError(unknown("model", request.model, self.generators))
        generator = self.generators[request.model]
        edit = request.edit
        if edit is not None and edit.image.size != edit.mask.size:
            raise ValueError(
                f"the mask is {edit.mask.width}x{edit.mask.height} pixels, the picture "
                f"{edit.image.width}x{edit.image.height}: they must be of one size"
            )
        chosen = dict(request.settings)
        (job,) = generator.jobs([request.wish], 1, request.seed, **chosen)
        height, width = generator.pixels_of(job.grid)
        for size in [(width, height), *([edit.image.size] if edit else [])]:
            if size[0] * size[1] > self.most_pixels(request.model):
                raise ValueError(
                    f"a picture of {size[0]}x{size[1]} pixels; this server paints at most "
                    f"{self.most_pixels(request.model)} pixels"
                )
        return job

    def most_pixels(self, model: str) -> int:
        """How large a picture may be, in pixels."""
        height, width = self.generators[model].size
        return max(self.limits.pixels, height * width)

    @property
    def patience(self) -> int:
        """In how many seconds there will be room, by the latest pictures."""
        return max(1, math.ceil(self._seconds_each * self.waiting))

    def _drop(self) -> None:
        """Take those out of the queue for whom nobody waits; the lock is held."""
        for waiting in [one for one in self._queue if one.ticket.gave_up]:
            self._queue.remove(waiting)
            self._fail(waiting.ticket, waiting.ticket.gave_up)

    def _fail(self, ticket: Ticket, error: BaseException | None) -> None:
        if error is not None and not ticket.done:
            self.watch.failed(type(error).__name__)
            if not isinstance(error, EngineError | ValueError):
                LOG.error("a picture could not be painted", exc_info=error)
            ticket.report(error)

    def _run(self) -> None:
        while batch := self._next():
            self.watch.batched(len(batch))
            start = time.monotonic()
            self._paint(batch)
            each = (time.monotonic() - start) / len(batch)
            self._seconds_each += 0.3 * (each - self._seconds_each)

    def _next(self) -> list[Waiting]:
        """The oldest request and those that fit it, or nothing once the engine is closed."""
        with self._changed:
            while True:
                self._drop()
                if self._queue:
                    break
                if self._closed:
                    return []
                self._changed.wait()
            first = self._queue.popleft()
            batch = [first, *self._companions(first)]
            chosen = {id(one) for one in batch}
            self._queue = deque(one for one in self._queue if id(one) not in chosen)
            self.watch.queued(len(self._queue))
        now = time.monotonic()
        for one in batch:
            self.watch.spent("queue", now - one.ticket.created)
        return batch

    def _companions(self, first: Waiting) -> list[Waiting]:
        """Who can share a batch with a request; the lock is held."""
        if first.ticket.request.edit is not None or not can_share(first.job.settings):
            return []
        most = max(self.limits.tokens // (first.job.grid[0] * first.job.grid[1]), 1)
        alike = [one for one in self._queue if one.kind == first.kind]
        return [one for one in alike if one.ticket.request.edit is None][: most - 1]

    def _paint(self, batch: list[Waiting]) -> None:
        """Paint a batch; if that fails, each of its pictures alone: none takes others down."""
        try:
            if batch[0].ticket.request.edit is not None:
                self._repaint(batch[0])
            else:
                self._together(batch)
        except EngineError as error:
            self._fail(batch[0].ticket, error)
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch[0].ticket, error)
                return
            for one in batch:
                if not one.ticket.done:
                    self._paint([one])

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
                self._fail(one.ticket, one.ticket.gave_up)
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

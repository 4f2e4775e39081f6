"""One thread that generates what everybody asks for, batching what fits together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from demask.batching.invariance import can_share
from demask.generator import Generator, Job
from demask.registry import unknown
from demask.server.observer import EngineObserver
from demask.server.request import BusyError, ClosedError, Request, Ticket
from demask.server.worker import QueuedRequest, Worker

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much the engine takes on.

    Attributes:
        queue: images that may wait; more are refused.
        tokens: of the images of one batch, together.
        pixels: of one image, generated or edited; a model's own size is always allowed.
        seconds: from asking to the finished image; None for no limit.
    """

    queue: int = 128
    tokens: int = 1024
    pixels: int = 512 * 512
    seconds: float | None = 120.0


@dataclass
class Engine:
    """Generates on a thread of its own, from `start` to `close`; a context manager does both.

    Every image is the one that `Generator.generate` gives for its seed and settings alone,
    whatever it shares a batch with; see `demask.batching.invariance`.

    Attributes:
        generators: the models by name.
        limits: how much is taken on.
        observer: hears what happens.
    """

    generators: Mapping[str, Generator]
    limits: Limits = field(default_factory=Limits)
    observer: EngineObserver = field(default_factory=EngineObserver)

    def __post_init__(self) -> None:
        self._queue: deque[QueuedRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._seconds_each = 0.0  # of the latest batches, running mean
        self._worker = Worker(self.generators, self.observer)

    def start(self) -> Engine:
        """Begin to generate."""
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
        """Whether requests are taken and generated."""
        return not self._closed and self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many images wait."""
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
        waiting = [
            QueuedRequest(Ticket(request, deadline), self.job(request)) for request in requests
        ]
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping and takes no more requests")
            self._drop()
            if len(self._queue) + len(waiting) > self.limits.queue:
                raise BusyError(f"{len(self._queue)} images wait already; try again later")
            self._queue += waiting
            self.observer.queued(len(self._queue))
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
                f"the mask is {edit.mask.width}x{edit.mask.height} pixels, the image "
                f"{edit.image.width}x{edit.image.height}: they must be of one size"
            )
        chosen = dict(request.settings)
        (job,) = generator.jobs([request.condition_input], 1, request.seed, **chosen)
        height, width = generator.pixels_of(job.grid)
        for size in [(width, height), *([edit.image.size] if edit else [])]:
            if size[0] * size[1] > self.most_pixels(request.model):
                raise ValueError(
                    f"an image of {size[0]}x{size[1]} pixels; this server generates at most "
                    f"{self.most_pixels(request.model)} pixels"
                )
        return job

    def most_pixels(self, model: str) -> int:
        """How large an image may be, in pixels."""
        height, width = self.generators[model].size
        return max(self.limits.pixels, height * width)

    @property
    def retry_after(self) -> int:
        """In how many seconds there will be room, by the latest images."""
        return max(1, math.ceil(self._seconds_each * self.waiting))

    def _drop(self) -> None:
        """Take those out of the queue for whom nobody waits; the lock is held."""
        for waiting in [one for one in self._queue if one.ticket.gave_up]:
            self._queue.remove(waiting)
            self._worker.fail(waiting.ticket, waiting.ticket.gave_up)

    def _run(self) -> None:
        while batch := self._next():
            self.observer.batched(len(batch))
            start = time.monotonic()
            try:
                self._worker.run(batch)
            except Exception:  # whatever it is, those who come later are generated
                LOG.exception("a batch was lost")
            each = (time.monotonic() - start) / len(batch)
            self._seconds_each += 0.3 * (each - self._seconds_each)

    def _next(self) -> list[QueuedRequest]:
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
            batch = [first, *self._batch_mates(first)]
            chosen = {id(one) for one in batch}
            self._queue = deque(one for one in self._queue if id(one) not in chosen)
            self.observer.queued(len(self._queue))
        now = time.monotonic()
        for one in batch:
            self.observer.spent("queue", now - one.ticket.created)
        return batch

    def _batch_mates(self, first: QueuedRequest) -> list[QueuedRequest]:
        """Who can share a batch with a request; the lock is held."""
        if first.ticket.request.edit is not None or not can_share(first.job.settings):
            return []
        most = max(self.limits.tokens // (first.job.grid[0] * first.job.grid[1]), 1)
        alike = [one for one in self._queue if one.kind == first.kind]
        return [one for one in alike if one.ticket.request.edit is None][: most - 1]

"""Queue requests and generate them on one thread; requests that fit together share a batch."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from demask.batching.invariance import can_share
from demask.editing import check_edit
from demask.generator import Generator, Job
from demask.registry import unknown
from demask.server.engine.observer import EngineObserver
from demask.server.engine.request import BusyError, ClosedError, Request, Ticket
from demask.server.engine.worker import QueuedRequest, Worker

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of the engine.

    Attributes:
        queue: the number of images that may wait; further requests are refused.
        tokens: the number of tokens in one batch.
        pixels: the size of one image, generated or edited; a model's own size is always allowed.
        windows: the number of windows of the model's own size that cover one image, whose cost
            grows with it whatever the pixels are.
        seconds: the time from submission to the finished image; None for no limit.
    """

    queue: int = 128
    tokens: int = 1024
    pixels: int = 512 * 512
    windows: int = 16
    seconds: float | None = 120.0


@dataclass
class Engine:
    """Generates images on a thread of its own, between `start` and `close`; a context manager.

    Every image equals the one that `Generator.generate` gives for its seed and settings alone,
    whatever shares its batch; see `demask.batching.invariance`.

    Attributes:
        generators: the models by name.
        limits: the limits of queue, batch, image and time.
        observer: receives progress callbacks.
    """

    generators: Mapping[str, Generator]
    limits: Limits = field(default_factory=Limits)
    observer: EngineObserver = field(default_factory=EngineObserver)

    def __post_init__(self) -> None:
        self._queue: deque[QueuedRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._seconds_each = 0.0  # per image, running mean over the latest batches
        self._worker = Worker(self.generators, self.observer)

    def start(self) -> Engine:
        """Start the thread."""
        assert self._thread is None, "an engine starts once"
        self._thread = threading.Thread(target=self._run, name="demask-engine", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Refuse new requests, finish the queued ones and wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether requests are accepted and generated."""
        return not self._closed and self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """The number of images in the queue."""
        with self._changed:
            return len(self._queue)

    def submit(self, *requests: Request) -> list[Ticket]:
        """Queue all of the requests, or none.

        Raises:
            ValueError: an unknown model, class or setting, or a number out of range.
            BusyError: the queue has no room for them.
            ClosedError: the engine is closed.
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
        """The job of a request, after every check that needs no forward pass.

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
        if edit is not None:
            check_edit(generator, "inpaint")
        chosen = dict(request.settings)
        (job,) = generator.jobs([request.condition_input], 1, request.seed, **chosen)
        height, width = generator.pixels_of(job.layout)
        self.check_size(request.model, width, height)
        if edit:
            self.check_size(request.model, *edit.image.size)
        return job

    def check_size(self, model: str, width: int, height: int) -> None:
        """Raise a ValueError for an image that is larger than the limits allow."""
        if width * height > self.most_pixels(model):
            raise ValueError(
                f"an image of {width}x{height} pixels; this server generates at most "
                f"{self.most_pixels(model)} pixels"
            )
        own_height, own_width = self.generators[model].size
        windows = math.ceil(width / own_width) * math.ceil(height / own_height)
        if windows > self.limits.windows:
            raise ValueError(
                f"an image of {width}x{height} pixels takes {windows} windows of {model}, which "
                f"are {own_width}x{own_height}; this server generates at most "
                f"{self.limits.windows}"
            )

    def most_pixels(self, model: str) -> int:
        """The largest image of a model that is generated or edited, in pixels."""
        height, width = self.generators[model].size
        return max(self.limits.pixels, height * width)

    @property
    def retry_after(self) -> int:
        """The estimated seconds until the queue is empty."""
        return max(1, math.ceil(self._seconds_each * self.waiting))

    def _drop(self) -> None:
        """Remove cancelled and late requests from the queue; the caller holds the lock."""
        for waiting in [one for one in self._queue if one.ticket.gave_up]:
            self._queue.remove(waiting)
            self._worker.fail(waiting.ticket, waiting.ticket.gave_up)

    def _run(self) -> None:
        while batch := self._next():
            self.observer.batched(len(batch))
            start = time.monotonic()
            try:
                self._worker.run(batch)
            except Exception:  # the thread goes on with later requests
                LOG.exception("a batch was lost")
            each = (time.monotonic() - start) / len(batch)
            self._seconds_each += 0.3 * (each - self._seconds_each)

    def _next(self) -> list[QueuedRequest]:
        """The oldest request and its batch mates; empty once the engine is closed and idle."""
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
        """The queued requests that can share a batch with ``first``; the caller holds the lock."""
        if first.ticket.request.edit is not None or not can_share(first.job.settings):
            return []
        most = max(self.limits.tokens // (first.job.layout.tokens), 1)
        alike = [one for one in self._queue if one.kind == first.kind]
        return [one for one in alike if one.ticket.request.edit is None][: most - 1]

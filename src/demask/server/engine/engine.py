"""Queue requests and generate them on one thread; requests that fit together share a batch.

Clients take turns in the queue (`fair_queue`), and batches of different sizes on the thread
(`turns`), so that neither many requests nor a large one holds others up for long.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from demask.batching.invariance import can_share
from demask.editing import check_edit, windows
from demask.generator import Generator, Job
from demask.registry import unknown
from demask.server.engine.fair_queue import FairQueue
from demask.server.engine.observer import EngineObserver
from demask.server.engine.request import BusyError, ClosedError, Edit, Request, Ticket
from demask.server.engine.turns import Turns
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
        self._queue = FairQueue()
        self._turns = Turns()
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
        jobs = [self.job(request) for request in requests]
        waiting = [
            QueuedRequest(Ticket(request, deadline), job, self.work(request, job))
            for request, job in zip(requests, jobs, strict=True)
        ]
        with self._changed:
            if self._closed:
                raise ClosedError("the server is stopping and takes no more requests")
            self._drop()
            self._make_room(requests)
            self._queue.add(waiting)
            self.observer.queued(len(self._queue))
            self._changed.notify_all()
        return [one.ticket for one in waiting]

    def _make_room(self, requests: Sequence[Request]) -> None:
        """Displace requests of clients that have more; the caller holds the lock.

        Raises:
            BusyError: the queue has no room for the new ones.
        """
        client = requests[0].client if requests else ""
        displaced = self._queue.surplus(client, len(requests), self.limits.queue)
        error = BusyError(f"{len(self._queue)} images wait already; try again later")
        if displaced is None:
            raise error
        self._queue.remove(displaced)
        for one in displaced:
            self._worker.fail(one.ticket, error)

    def work(self, request: Request, job: Job) -> float:
        """The work of an image: steps times tokens, of all windows of an edit."""
        work = job.settings.steps * job.layout.tokens
        if request.edit is None or len(job.layout.shape) != 2:
            return work
        side = self.generators[request.model].tokenizer.downsampling
        width, height = (math.ceil(length / side) for length in request.edit.image.size)
        return work * len(windows((height, width), job.layout.shape))

    def job(self, request: Request) -> Job:
        """The job of a request, after every check that needs no forward pass.

        Raises:
            ValueError: an unknown model, class or setting, or a number out of range.
        """
        if request.model not in self.generators:
            raise ValueError(unknown("model", request.model, self.generators))
        generator = self.generators[request.model]
        edit = request.edit
        if isinstance(edit, Edit) and edit.image.size != edit.mask.size:
            raise ValueError(
                f"the mask is {edit.mask.width}x{edit.mask.height} pixels, the image "
                f"{edit.image.width}x{edit.image.height}: they must be of one size"
            )
        if edit is not None:
            check_edit(generator, "inpaint" if isinstance(edit, Edit) else "variations")
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
        gone = [one for one in self._queue.waiting if one.ticket.gave_up]
        self._queue.remove(gone)
        for one in gone:
            self._worker.fail(one.ticket, one.ticket.gave_up)

    def _run(self) -> None:
        while self._next():
            ended = self._turns.step()
            if ended is not None:
                self._seconds_each += 0.3 * (ended.seconds / ended.images - self._seconds_each)

    def _next(self) -> bool:
        """Wait for work, and start a waiting batch if it may; False once closed and idle."""
        with self._changed:
            while True:
                self._drop()
                first = next(
                    (one for one in self._queue.waiting if self._turns.fits(one.work)), None
                )
                if first is not None:
                    break
                if self._turns.running or self._closed:
                    return bool(self._turns.running)
                self._changed.wait()
            batch = [first, *self._batch_mates(first)]
            self._queue.take(batch)
            self.observer.queued(len(self._queue))
        now = time.monotonic()
        for one in batch:
            self.observer.spent("queue", now - one.ticket.created)
        self.observer.batched(len(batch))
        self._turns.start(self._worker.run(batch), len(batch), first.work)
        return True

    def _batch_mates(self, first: QueuedRequest) -> list[QueuedRequest]:
        """The queued requests that can share a batch with ``first``; the caller holds the lock."""
        if first.ticket.request.edit is not None or not can_share(first.job.settings):
            return []
        most = max(self.limits.tokens // first.job.layout.tokens, 1)
        alike = [one for one in self._queue.waiting if one is not first and one.kind == first.kind]
        return [one for one in alike if one.ticket.request.edit is None][: most - 1]

"""Requests to the engine, and the tickets that deliver their images."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from demask.conditioning import ConditionInput
from demask.generator import GeneratedImage

LOG = logging.getLogger(__name__)


class EngineError(Exception):
    """A valid request has ended without an image."""


class BusyError(EngineError):
    """The queue is full; the request may be repeated later."""


class ClosedError(EngineError):
    """The engine accepts no more requests."""


class WithdrawnError(EngineError):
    """The request was cancelled."""


class LateError(EngineError):
    """The request exceeded its time limit, which includes the time in the queue."""


@dataclass(frozen=True)
class Edit:
    """An image, and the part of it to regenerate.

    Attributes:
        image: the image, of any size.
        mask: a mask of the same size; white pixels are regenerated.
        feather: the width of the soft edge in pixels; None is half a token.
    """

    image: Image.Image
    mask: Image.Image
    feather: int | None = None


@dataclass(frozen=True)
class Variation:
    """An image, and how much of it to regenerate.

    Attributes:
        image: the image, of any size.
        strength: the fraction of its tokens that is regenerated, at random places.
    """

    image: Image.Image
    strength: float = 0.5


@dataclass(frozen=True)
class Request:
    """A request for one image.

    Attributes:
        model: the name of one of the engine's models.
        condition_input: a prompt, a class name or a class number; None for any.
        seed: the seed of the image's random generator.
        settings: fields of `Settings`, and ``preset``, that differ from the model's default.
        partials: the number of unfinished images to report, spread evenly over the steps; at
            least the number of steps reports every step.
        edit: the image to edit or vary; None generates a new one.
        client: the name of the client; clients take turns in the queue.
    """

    model: str
    condition_input: ConditionInput = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    partials: int = 0
    edit: Edit | Variation | None = None
    client: str = ""


@dataclass(frozen=True)
class Partial:
    """An unfinished image; masked tokens are grey.

    Attributes:
        image: the pixels.
        number: counts the unfinished images of a request, from 0.
        step: the number of steps done.
        steps: the number of steps in all.
    """

    image: Image.Image
    number: int
    step: int
    steps: int


Event = Partial | GeneratedImage | BaseException
"""What a ticket reports: unfinished images, then the finished image or an exception."""


class Ticket:
    """A submitted request. Every method may be called from any thread.

    Attributes:
        request: the request.
        deadline: when the request is given up, by `time.monotonic`.
    """

    def __init__(self, request: Request, deadline: float) -> None:
        self.request = request
        self.deadline = deadline
        self.created = time.monotonic()
        self._future: Future[GeneratedImage] = Future()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._cancelled = threading.Event()

    def result(self, timeout: float | None = None) -> GeneratedImage:
        """Wait for the finished image.

        Raises:
            EngineError: the request has ended without an image.
            TimeoutError: the image is not finished after ``timeout`` seconds.
        """
        return self._future.result(timeout)

    def __iter__(self) -> Iterator[Partial | GeneratedImage]:
        """The unfinished images as they come, then the finished one.

        Raises:
            EngineError: the request has ended without an image.
        """
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.listen(events.put)
        while True:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, GeneratedImage):
                return

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with all events, past and future.

        It is called on the engine's thread, so it must be fast; for asyncio see `event_queue`.
        """
        with self._lock:
            for event in self._events:
                listener(event)
            self._listeners.append(listener)

    def cancel(self) -> None:
        """Cancel the request: it leaves the queue at once, or its batch after the current step."""
        self._cancelled.set()

    @property
    def done(self) -> bool:
        """Whether the request has ended, with an image or without."""
        return self._future.done()

    @property
    def gave_up(self) -> EngineError | None:
        """The reason to stop, cancelled or late, or None."""
        if self._cancelled.is_set():
            return WithdrawnError("the request was withdrawn")
        if time.monotonic() > self.deadline:
            seconds = self.deadline - self.created
            return LateError(f"the image was not finished within {seconds:.0f} seconds")
        return None

    def report(self, event: Event) -> None:
        """Pass an event to the listeners; ignored once the request has ended."""
        with self._lock:
            if self._future.done():
                return
            self._events.append(event)
            if isinstance(event, BaseException):
                self._future.set_exception(event)
            elif isinstance(event, GeneratedImage):
                self._future.set_result(event)
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:  # a bug of the listener must not fail the image
                    LOG.exception("a listener failed")


def event_queue(tickets: Sequence[Ticket]) -> asyncio.Queue[tuple[int, Event]]:
    """The events of several tickets, each with the index of its ticket, on the running loop."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

    def forward(index: int, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(events.put_nowait, (index, event))

    for index, ticket in enumerate(tickets):
        ticket.listen(partial(forward, index))
    return events

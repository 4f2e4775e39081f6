"""What is asked of the engine, and the ticket on which the images come back."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from demask.conditioning import ConditionInput
from demask.generator import GeneratedImage

LOG = logging.getLogger(__name__)


class EngineError(Exception):
    """A request that ends without an image, through no mistake of whoever made it."""


class BusyError(EngineError):
    """The queue is full: try again later."""


class ClosedError(EngineError):
    """The engine takes no more requests."""


class WithdrawnError(EngineError):
    """The request was withdrawn."""


class LateError(EngineError):
    """The request took longer than its limit, waiting included."""


@dataclass(frozen=True)
class Edit:
    """An image of which a part is regenerated.

    Attributes:
        image: any size.
        mask: of the same size; white is regenerated.
        feather: width of the soft edge in pixels; None = half a token.
    """

    image: Image.Image
    mask: Image.Image
    feather: int | None = None


@dataclass(frozen=True)
class Request:
    """One image.

    Attributes:
        model: the name of one of the engine's models.
        condition_input: a prompt, a class name or number; None for anything.
        seed: of its random generator.
        settings: any of `Settings` and ``preset``, where the model's default is not wanted.
        partials: how many unfinished images are wanted on the way, spread over the steps; as
            many as there are steps, or more, shows every step.
        edit: the image to change, or None to generate a new one.
    """

    model: str
    condition_input: ConditionInput = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    partials: int = 0
    edit: Edit | None = None


@dataclass(frozen=True)
class Partial:
    """An unfinished image: masked tokens are grey.

    Attributes:
        image: the pixels.
        number: 0 for the first that is shown of this request.
        step: how many steps are done.
        steps: of how many.
    """

    image: Image.Image
    number: int
    step: int
    steps: int


Event = Partial | GeneratedImage | BaseException
"""What a ticket reports: unfinished images, then the finished one or why there is none."""


class Ticket:
    """A request in the engine. Every method may be called from any thread.

    Attributes:
        request: what was asked for.
        deadline: when it gives up, by `time.monotonic`.
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
            EngineError: there will be none.
            TimeoutError: not after ``timeout`` seconds.
        """
        return self._future.result(timeout)

    def __iter__(self) -> Iterator[Partial | GeneratedImage]:
        """The unfinished images as they come, then the finished one.

        Raises:
            EngineError: there will be none.
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
        """Call ``listener`` with all that was reported so far and with all that follows.

        It is called from the engine's thread, so it must be quick; with asyncio, hand it
        ``lambda event: loop.call_soon_threadsafe(queue.put_nowait, event)``.
        """
        with self._lock:
            for event in self._events:
                listener(event)
            self._listeners.append(listener)

    def cancel(self) -> None:
        """Withdraw the request: it leaves the queue at once, or the batch after this step."""
        self._cancelled.set()

    @property
    def done(self) -> bool:
        """Whether there is an image, or will be none."""
        return self._future.done()

    @property
    def gave_up(self) -> EngineError | None:
        """Why nobody waits for the image any more, or None."""
        if self._cancelled.is_set():
            return WithdrawnError("the request was withdrawn")
        if time.monotonic() > self.deadline:
            seconds = self.deadline - self.created
            return LateError(f"the image was not finished within {seconds:.0f} seconds")
        return None

    def report(self, event: Event) -> None:
        """Tell whoever listens; after the finished image or an exception, nothing more."""
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
                except Exception:  # theirs, and no reason to generate the image again
                    LOG.exception("a listener failed")

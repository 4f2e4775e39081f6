"""From the fields of a request to events of the engine, and back to an answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from demask.generator import GeneratedImage
from demask.registry import unknown
from demask.server.engine import Engine
from demask.server.errors import ApiError, api_error
from demask.server.fields import ImageFields
from demask.server.image_store import ImageStore
from demask.server.provenance import Provenance, encode
from demask.server.request import BusyError, Edit, Event, Partial, Request, Ticket

LOOK_EVERY = 0.25  # seconds between looks whether the client is still there

Gone = Callable[[], Awaitable[bool]]
"""Whether the client has left."""


@dataclass
class Service:
    """The engine, as the routes need it.

    Attributes:
        engine: generates.
        provenance: what is written into finished images.
        images: keeps those that are fetched by their address.
    """

    engine: Engine
    provenance: Provenance = field(default_factory=Provenance)
    images: ImageStore = field(default_factory=ImageStore)

    def model(self, name: str | None) -> str:
        """The model that is meant.

        Raises:
            ApiError: there is none of that name.
        """
        names = self.engine.generators
        if name is None:
            return next(iter(names))
        if name not in names:
            raise ApiError(404, unknown("model", name, names), "model_not_found", "model")
        return name

    def submit(self, asked: ImageFields, edit: Edit | None = None) -> list[Ticket]:
        """Take a request on, a ticket an image.

        Raises:
            ApiError: a field that is wrong, or no room.
        """
        model = self.model(asked.model)
        first = secrets.randbelow(2**32) if asked.seed is None else asked.seed
        partials = (asked.partial_images or 0) if asked.stream else 0
        try:
            settings = asked.settings()
            requests = [
                Request(model, asked.prompt or None, first + i, settings, partials, edit)
                for i in range(asked.n or 1)
            ]
            return self.engine.submit(*requests)
        except BusyError as error:
            self.engine.observer.failed("BusyError")
            raise api_error(error, self.engine.retry_after) from None
        except (ArithmeticError, TypeError, RecursionError) as error:
            # from words such as power:1e999 that a setting's own reader does not foresee
            raise ApiError(400, f"these settings cannot be read: {error}") from None
        except Exception as error:
            raise api_error(error, self.engine.retry_after) from None

    async def answer(
        self, tickets: list[Ticket], form: str, base: str, gone: Gone
    ) -> dict[str, Any]:
        """The finished images, in the order in which they were asked for.

        Raises:
            ApiError: one of them could not be generated, or the client has left.
        """
        data: list[dict[str, Any]] = [{} for _ in tickets]
        async for index, event in events(tickets, gone):
            if isinstance(event, GeneratedImage):
                data[index] = await self.item(event, form, base)
        return {"created": int(time.time()), "data": data}

    async def item(self, image: GeneratedImage, form: str, base: str) -> dict[str, Any]:
        """A finished image, as a text or as an address."""
        png = await asyncio.to_thread(self.provenance.png, image)
        if form == "url":
            return {"url": f"{base}files/{self.images.put(png)}.png", "seed": image.seed}
        return {"b64_json": base64.b64encode(png).decode(), "seed": image.seed}

    async def stream(
        self, tickets: list[Ticket], kind: str, form: str, base: str, gone: Gone
    ) -> AsyncIterator[bytes]:
        """Server-sent events: unfinished images, and the finished ones, as they come."""
        try:
            async for index, event in events(tickets, gone):
                name = "partial_image" if isinstance(event, Partial) else "completed"
                payload: dict[str, Any] = {"type": f"{kind}.{name}", "created_at": int(time.time())}
                payload |= {"output_format": "png", "index": index}
                if isinstance(event, Partial):
                    payload |= {"partial_image_index": event.number, "step": event.step}
                    payload |= {"steps": event.steps, **await asyncio.to_thread(shown, event.image)}
                else:
                    payload |= await self.item(event, form, base)
                yield sse(payload["type"], payload)
        except ApiError as error:
            yield sse("error", {"type": "error", **error.content})


async def events(
    tickets: Sequence[Ticket], gone: Gone
) -> AsyncIterator[tuple[int, Partial | GeneratedImage]]:
    """What several tickets report, until all are finished.

    Raises:
        ApiError: one of them has failed, or the client has left; the others are withdrawn.
    """
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
    for index, ticket in enumerate(tickets):
        ticket.listen(event_forwarder(loop, heard, index))
    left = len(tickets)
    try:
        while left:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    index, event = await heard.get()
            except TimeoutError:
                if await gone():
                    raise ApiError(499, "the client has left", "withdrawn") from None
                late = next((ticket.gave_up for ticket in tickets if not ticket.done), None)
                if late is not None:  # the engine, busy with others, has not noticed yet
                    raise api_error(late) from None
                continue
            if isinstance(event, BaseException):
                raise api_error(event)
            left -= isinstance(event, GeneratedImage)
            yield index, event
    finally:
        for ticket in tickets:
            ticket.cancel()


def event_forwarder(
    loop: asyncio.AbstractEventLoop, heard: asyncio.Queue[tuple[int, Event]], index: int
) -> Callable[[Event], None]:
    """Brings a ticket's events from the engine's thread to a queue of a loop."""

    def hear(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(heard.put_nowait, (index, event))

    return hear


def shown(image: Image.Image) -> dict[str, str]:
    """An unfinished image, as a text."""
    return {"b64_json": base64.b64encode(encode(image)).decode()}


def sse(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()

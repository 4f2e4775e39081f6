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

from demask.generator import Picture
from demask.registry import unknown
from demask.server.engine import Engine
from demask.server.errors import ApiError, api_error
from demask.server.fields import ImageFields
from demask.server.provenance import Provenance, encode
from demask.server.request import BusyError, Edit, Event, Partial, Request, Ticket
from demask.server.shelf import Shelf

LOOK_EVERY = 0.25  # seconds between looks whether the client is still there

Gone = Callable[[], Awaitable[bool]]
"""Whether the client has left."""


@dataclass
class Service:
    """The engine, as the routes need it.

    Attributes:
        engine: paints.
        provenance: what is written into finished pictures.
        shelf: keeps those that are fetched by their address.
    """

    engine: Engine
    provenance: Provenance = field(default_factory=Provenance)
    shelf: Shelf = field(default_factory=Shelf)

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
        """Take a request on, a ticket a picture.

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
            self.engine.watch.failed("BusyError")
            raise api_error(error, self.engine.patience) from None
        except (ArithmeticError, TypeError, RecursionError) as error:
            # from words such as power:1e999 that a setting's own reader does not foresee
            raise ApiError(400, f"these settings cannot be read: {error}") from None
        except Exception as error:
            raise api_error(error, self.engine.patience) from None

    async def answer(
        self, tickets: list[Ticket], form: str, base: str, gone: Gone
    ) -> dict[str, Any]:
        """The finished pictures, in the order in which they were asked for.

        Raises:
            ApiError: one of them could not be painted, or the client has left.
        """
        data: list[dict[str, Any]] = [{} for _ in tickets]
        async for index, event in events(tickets, gone):
            if isinstance(event, Picture):
                data[index] = await self.item(event, form, base)
        return {"created": int(time.time()), "data": data}

    async def item(self, picture: Picture, form: str, base: str) -> dict[str, Any]:
        """A finished picture, as a text or as an address."""
        png = await asyncio.to_thread(self.provenance.png, picture)
        if form == "url":
            return {"url": f"{base}files/{self.shelf.put(png)}.png", "seed": picture.seed}
        return {"b64_json": base64.b64encode(png).decode(), "seed": picture.seed}

    async def stream(
        self, tickets: list[Ticket], kind: str, form: str, base: str, gone: Gone
    ) -> AsyncIterator[bytes]:
        """Server-sent events: unfinished pictures, and the finished ones, as they come."""
        try:
            async for index, event in events(tickets, gone):
                name = "partial_image" if isinstance(event, Partial) else "completed"
                told: dict[str, Any] = {"type": f"{kind}.{name}", "created_at": int(time.time())}
                told |= {"output_format": "png", "index": index}
                if isinstance(event, Partial):
                    told |= {"partial_image_index": event.number, "step": event.step}
                    told |= {"steps": event.steps, **await asyncio.to_thread(shown, event.image)}
                else:
                    told |= await self.item(event, form, base)
                yield sse(told["type"], told)
        except ApiError as error:
            yield sse("error", {"type": "error", **error.content})


async def events(
    tickets: Sequence[Ticket], gone: Gone
) -> AsyncIterator[tuple[int, Partial | Picture]]:
    """What several tickets report, until all are finished.

    Raises:
        ApiError: one of them has failed, or the client has left; the others are withdrawn.
    """
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
    for index, ticket in enumerate(tickets):
        ticket.listen(hearer(loop, heard, index))
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
            left -= isinstance(event, Picture)
            yield index, event
    finally:
        for ticket in tickets:
            ticket.cancel()


def hearer(
    loop: asyncio.AbstractEventLoop, heard: asyncio.Queue[tuple[int, Event]], index: int
) -> Callable[[Event], None]:
    """Brings a ticket's events from the engine's thread to a queue of a loop."""

    def hear(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(heard.put_nowait, (index, event))

    return hear


def shown(image: Image.Image) -> dict[str, str]:
    """An unfinished picture, as a text."""
    return {"b64_json": base64.b64encode(encode(image)).decode()}


def sse(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()

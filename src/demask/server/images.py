"""The routes under /v1: models, and the OpenAI images API on top of the engine."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from demask.data.color import to_rgb
from demask.generator import GeneratedImage
from demask.registry import unknown
from demask.server.answers import ERRORS, Answer, Model, Models, form_schema
from demask.server.engine import (
    BusyError,
    Edit,
    Engine,
    Partial,
    Ticket,
    Variation,
    event_queue,
)
from demask.server.engine import Request as ImageRequest
from demask.server.errors import ApiError, api_error
from demask.server.fields import Editing, Generation, ImageFields, Varying
from demask.server.image_store import ImageStore
from demask.server.provenance import Provenance, encode
from demask.server.uploads import open_upload, read_edit, read_form

EDIT_FORM = form_schema(Editing, "image", "mask")
VARIATION_FORM = form_schema(Varying, "image")

DISCONNECT_POLL = 0.25
"""Seconds between two checks whether the client is still connected."""


@dataclass
class Service:
    """What the routes need of the server.

    Attributes:
        engine: generates the images.
        provenance: writes the facts into finished images.
        images: stores the images that are fetched by their URL.
        public_url: see `demask.server.app.ServerConfig`.
    """

    engine: Engine
    provenance: Provenance = field(default_factory=Provenance)
    images: ImageStore = field(default_factory=ImageStore)
    public_url: str = ""

    def model(self, name: str | None) -> str:
        """The name of a model; None is the first one.

        Raises:
            ApiError: there is no model of that name.
        """
        names = self.engine.generators
        if name is None:
            return next(iter(names))
        if name not in names:
            raise ApiError(404, unknown("model", name, names), "model_not_found", "model")
        return name

    def submit(
        self, asked: ImageFields, edit: Edit | Variation | None = None, client: str = ""
    ) -> list[Ticket]:
        """Submit a request to the engine; one ticket per image.

        Raises:
            ApiError: a field is wrong, or the engine does not accept the request.
        """
        model = self.model(asked.model)
        first = secrets.randbelow(2**32) if asked.seed is None else asked.seed
        partials = (asked.partial_images or 0) if asked.stream else 0
        try:
            settings = asked.settings()
            prompt = asked.prompt or None
            requests = [
                ImageRequest(model, prompt, first + i, settings, partials, edit, client)
                for i in range(asked.n or 1)
            ]
            return self.engine.submit(*requests)
        except BusyError as error:
            self.engine.observer.failed("BusyError")
            raise api_error(error, self.engine.retry_after) from None
        except (ArithmeticError, TypeError, RecursionError) as error:
            # raised by the parser of a setting for a text such as power:1e999
            raise ApiError(400, f"these settings cannot be read: {error}") from None
        except Exception as error:
            raise api_error(error, self.engine.retry_after) from None

    async def answer(
        self, tickets: list[Ticket], asked: ImageFields, request: Request
    ) -> dict[str, Any]:
        """The finished images, in the order of the tickets.

        Raises:
            ApiError: an image could not be generated, or the client has disconnected.
        """
        data: list[dict[str, Any]] = [{} for _ in tickets]
        async for index, event in events(tickets, request):
            if isinstance(event, GeneratedImage):
                data[index] = await self.item(event, asked, request)
        return {"created": int(time.time()), "data": data}

    async def stream(
        self, tickets: list[Ticket], asked: ImageFields, request: Request, kind: str
    ) -> AsyncIterator[bytes]:
        """Server-sent events: unfinished and finished images as they come."""
        try:
            async for index, event in events(tickets, request):
                name = "partial_image" if isinstance(event, Partial) else "completed"
                payload: dict[str, Any] = {"type": f"{kind}.{name}", "created_at": int(time.time())}
                payload |= {"output_format": asked.output_format or "png", "index": index}
                if isinstance(event, Partial):
                    png = await asyncio.to_thread(encode, event.image, None, *file_of(asked))
                    payload |= {"partial_image_index": event.number, "step": event.step}
                    payload |= {"steps": event.steps, "b64_json": base64.b64encode(png).decode()}
                else:
                    payload |= await self.item(event, asked, request)
                yield server_sent_event(payload["type"], payload)
        except ApiError as error:
            yield server_sent_event("error", {"type": "error", **error.content})

    async def item(
        self, image: GeneratedImage, asked: ImageFields, request: Request
    ) -> dict[str, Any]:
        """A finished image in an answer, as base64 text or as a URL."""
        kind, quality = file_of(asked)
        data = await asyncio.to_thread(self.provenance.file, image, kind, quality)
        if asked.response_format == "url":
            base = self.public_url or request.base_url
            return {"url": f"{base}files/{self.images.put(data, f'.{kind}')}", "seed": image.seed}
        return {"b64_json": base64.b64encode(data).decode(), "seed": image.seed}


def file_of(asked: ImageFields) -> tuple[str, int]:
    """The format and the quality of the files that a request asks for."""
    quality = asked.output_compression
    return asked.output_format or "png", 100 if quality is None else quality


async def events(
    tickets: Sequence[Ticket], request: Request
) -> AsyncIterator[tuple[int, Partial | GeneratedImage]]:
    """The events of several tickets, until all have ended; on leaving, all are cancelled.

    Raises:
        ApiError: a ticket has failed, or the client has disconnected.
    """
    queue, left = event_queue(tickets), len(tickets)
    try:
        while left:
            try:
                async with asyncio.timeout(DISCONNECT_POLL):
                    index, event = await queue.get()
            except TimeoutError:
                if await request.is_disconnected():
                    raise ApiError(499, "the client has left", "withdrawn") from None
                late = next((ticket.gave_up for ticket in tickets if not ticket.done), None)
                if late is not None:  # the engine is busy with a batch and has not noticed yet
                    raise api_error(late) from None
                continue
            if isinstance(event, BaseException):
                raise api_error(event)
            left -= isinstance(event, GeneratedImage)
            yield index, event
    finally:
        for ticket in tickets:
            ticket.cancel()


def server_sent_event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event with JSON data."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def routes(service: Service) -> APIRouter:
    """The routes under /v1."""
    router = APIRouter(prefix="/v1", responses=ERRORS)

    @router.get("/models")
    async def list_models() -> Models:
        """The models of this server."""
        return Models(data=[Model(id=name) for name in service.engine.generators])

    @router.get("/models/{name:path}")
    async def show_model(name: str) -> Model:
        """One of the models."""
        return Model(id=service.model(name))

    @router.post("/images/generations", response_model=Answer)
    async def generate(request: Request, asked: Generation) -> Response:
        """Generate images of a prompt."""
        tickets = await asyncio.to_thread(service.submit, asked, None, request.state.client)
        return await respond(service, tickets, asked, request, "image_generation")

    @router.post("/images/edits", response_model=Answer, openapi_extra=EDIT_FORM)
    async def edit(request: Request) -> Response:
        """Regenerate a part of an image."""
        form = await read_form(request, Editing, "image", "mask")
        max_pixels = service.engine.most_pixels(service.model(form.asked.model))
        change = await asyncio.to_thread(read_edit, form, max_pixels)
        tickets = await asyncio.to_thread(service.submit, form.asked, change, request.state.client)
        return await respond(service, tickets, form.asked, request, "image_edit")

    @router.post("/images/variations", response_model=Answer, openapi_extra=VARIATION_FORM)
    async def vary(request: Request) -> Response:
        """Regenerate a random part of an image's tokens."""
        form = await read_form(request, Varying, "image")
        max_pixels = service.engine.most_pixels(service.model(form.asked.model))
        image = await asyncio.to_thread(open_upload, form.image, "image", max_pixels)
        strength = 0.5 if form.asked.strength is None else form.asked.strength
        change = Variation(to_rgb(image), strength)
        tickets = await asyncio.to_thread(service.submit, form.asked, change, request.state.client)
        return await respond(service, tickets, form.asked, request, "image_variation")

    return router


async def respond(
    service: Service, tickets: list[Ticket], asked: ImageFields, request: Request, kind: str
) -> Response:
    """The images as one JSON answer, or as a stream of events."""
    if asked.stream:
        headers: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = service.stream(tickets, asked, request, kind)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
    return JSONResponse(await service.answer(tickets, asked, request))


def files(service: Service) -> APIRouter:
    """The route of stored images; their URLs cannot be guessed."""
    router = APIRouter()

    @router.get("/files/{name}", include_in_schema=False)
    async def fetch(name: str) -> Response:
        """A finished image."""
        data = service.images.get(name)
        if data is None:
            raise ApiError(404, "no such image, or no longer", "not_found")
        kind = f"image/{name.rpartition('.')[2]}"
        return Response(data, media_type=kind, headers={"Cache-Control": "private"})

    return router

"""The routes under /v1: models, and the OpenAI images API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from demask.server.errors import ApiError
from demask.server.fields import Editing, Generation, ImageFields
from demask.server.request import Ticket
from demask.server.service import Service
from demask.server.uploads import read_edit, read_form


class ErrorObject(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every answer that is no success."""

    error: ErrorObject


class ImageObject(BaseModel):
    """A finished image: one of ``b64_json`` and ``url``."""

    b64_json: str | None = None
    url: str | None = None
    seed: int


class Answer(BaseModel):
    """Finished images."""

    created: int
    data: list[ImageObject]


class Model(BaseModel):
    """A model that this server generates with."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "demask"


class Models(BaseModel):
    """All of them."""

    object: str = "list"
    data: list[Model]


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "A field is wrong."},
    401: {"model": ErrorAnswer, "description": "An API key is needed."},
    404: {"model": ErrorAnswer, "description": "No such model."},
    408: {"model": ErrorAnswer, "description": "The request came too slowly."},
    413: {"model": ErrorAnswer, "description": "The request or its image is too large."},
    429: {"model": ErrorAnswer, "description": "The queue is full; see Retry-After."},
    503: {"model": ErrorAnswer, "description": "The server is stopping."},
    504: {"model": ErrorAnswer, "description": "The image took longer than the time limit."},
}


def form_schema() -> dict[str, Any]:
    """The form of an edit, for the OpenAPI document."""
    schema = Editing.model_json_schema()
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {"image": file, "mask": file, **schema["properties"]}
    schema["required"] = ["image"]
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def routes(service: Service) -> APIRouter:
    """The routes under /v1."""
    router = APIRouter(prefix="/v1", responses=ERRORS)

    @router.get("/models")
    async def list_models() -> Models:
        """The models that this server generates with."""
        return Models(data=[Model(id=name) for name in service.engine.generators])

    @router.get("/models/{name:path}")
    async def show_model(name: str) -> Model:
        """One of the models."""
        return Model(id=service.model(name))

    @router.post("/images/generations", response_model=Answer)
    async def generate(request: Request, asked: Generation) -> Response:
        """Generate images of a prompt."""
        tickets = await asyncio.to_thread(service.submit, asked)
        return await respond(service, request, asked, tickets, "image_generation")

    @router.post("/images/edits", response_model=Answer, openapi_extra=form_schema())
    async def edit(request: Request) -> Response:
        """Generate a part of an image anew."""
        form = await read_form(request)
        model = service.model(form.asked.model)
        most = service.engine.most_pixels(model)
        change = await asyncio.to_thread(read_edit, form, most)
        tickets = await asyncio.to_thread(service.submit, form.asked, change)
        return await respond(service, request, form.asked, tickets, "image_edit")

    return router


async def respond(
    service: Service, request: Request, asked: ImageFields, tickets: list[Ticket], kind: str
) -> Response:
    """The images as one answer, or as a stream of events."""
    form, base = asked.response_format or "b64_json", str(request.base_url)
    gone = request.is_disconnected
    if asked.stream:
        headers: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = service.stream(tickets, kind, form, base, gone)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
    return JSONResponse(await service.answer(tickets, form, base, gone))


def files(service: Service) -> APIRouter:
    """The images that are fetched by their address; knowing it is what it takes."""
    router = APIRouter()

    @router.get("/files/{name}.png", include_in_schema=False)
    async def fetch(name: str) -> Response:
        """A finished image."""
        data = service.images.get(name)
        if data is None:
            raise ApiError(404, "no such image, or no longer", "not_found")
        return Response(data, media_type="image/png", headers={"Cache-Control": "private"})

    return router

"""The answers of the API, as its OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ErrorObject(BaseModel):
    """An error, as in the OpenAI API."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every answer with an error status."""

    error: ErrorObject


class ImageObject(BaseModel):
    """A finished image: either ``b64_json`` or ``url``."""

    b64_json: str | None = None
    url: str | None = None
    seed: int


class Answer(BaseModel):
    """Finished images."""

    created: int
    data: list[ImageObject]


class Model(BaseModel):
    """A model of this server."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "demask"


class Models(BaseModel):
    """All models of this server."""

    object: str = "list"
    data: list[Model]


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "A field is wrong."},
    401: {"model": ErrorAnswer, "description": "An API key is needed."},
    404: {"model": ErrorAnswer, "description": "No such model."},
    408: {"model": ErrorAnswer, "description": "The request arrived too slowly."},
    413: {"model": ErrorAnswer, "description": "The request or its image is too large."},
    429: {"model": ErrorAnswer, "description": "The queue is full; see Retry-After."},
    503: {"model": ErrorAnswer, "description": "The server is stopping."},
    504: {"model": ErrorAnswer, "description": "The image exceeded the time limit."},
}


def form_schema(fields: type[BaseModel], *files: str) -> dict[str, Any]:
    """The multipart form of an edit or a variation, for the OpenAPI document."""
    schema = fields.model_json_schema()
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {**dict.fromkeys(files, file), **schema["properties"]}
    schema["required"] = ["image"]
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }

"""Errors as the error object of the OpenAI API: one line, without internal details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from demask.foreign_names import unknown_setting
from demask.server.engine import BusyError, ClosedError, EngineError, LateError, WithdrawnError
from demask.server.fields import Generation

STATUSES: dict[type[BaseException], tuple[int, str]] = {
    BusyError: (429, "queue_full"),
    ClosedError: (503, "stopping"),
    LateError: (504, "time_limit"),
    WithdrawnError: (499, "withdrawn"),
}


class ApiError(HTTPException):
    """An answer with an error status.

    Attributes:
        status: the HTTP status.
        message: one line for people.
        code: a word for programs.
        param: the wrong field, or None.
        headers: headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_value",
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def content(self) -> dict[str, Any]:
        """The error object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        message = " ".join(self.message.split())
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(self.content, self.status, self.headers)


def api_error(error: BaseException, retry_after: int = 1) -> ApiError:
    """Convert any exception to an ApiError; internal errors return a generic message."""
    if isinstance(error, ApiError):
        return error
    for kind, (status, code) in STATUSES.items():
        if isinstance(error, kind):
            headers = {"Retry-After": str(retry_after)} if status in (429, 503) else None
            return ApiError(status, str(error), code, headers=headers)
    if isinstance(error, ValueError) and not isinstance(error, EngineError):
        return ApiError(400, str(error))
    return ApiError(500, "the image could not be generated; the server's log says why", "internal")


NOT_A_BODY = {
    "json_invalid": "the body is no JSON",
    "model_attributes_type": "the body must be a JSON object",
}
"""Errors of a whole body, by pydantic's names of them."""


def complaint(errors: Sequence[Any], valid: Sequence[str] = ()) -> ApiError:
    """The first of pydantic's validation errors, in one line."""
    first = errors[0]
    if first["type"] in NOT_A_BODY:
        return ApiError(400, NOT_A_BODY[first["type"]])
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "form")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden" and valid:
        return ApiError(400, unknown_setting(name, valid, "field"), "unknown_field", name)
    text = str(first["msg"]).removeprefix("Value error, ")
    if name and not text.startswith(name):  # a setting's own message begins with its name
        text = f"{name}: {text}"
    return ApiError(400, text, "invalid_value", name or None)


async def on_api_error(_request: Request, error: Exception) -> JSONResponse:
    """Answer an `ApiError`."""
    return api_error(error).response()


async def on_invalid(_request: Request, error: Exception) -> JSONResponse:
    """Answer a request that does not match its schema."""
    assert isinstance(error, RequestValidationError)
    return complaint(error.errors(), list(Generation.model_fields)).response()


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Answer an unknown path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        text = f"there is nothing at {request.url.path}; /docs lists what there is"
        return ApiError(404, text, "not_found").response()
    headers = dict(error.headers) if error.headers else None
    return ApiError(error.status_code, str(error.detail), "http", headers=headers).response()

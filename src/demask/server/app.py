"""The application: the API, its documentation, health, numbers, and the page if there is one."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from demask import __version__
from demask.server.engine import Engine
from demask.server.errors import ApiError, on_api_error, on_http, on_invalid
from demask.server.guard import Keys, RequestGuard
from demask.server.images import Service, files, routes
from demask.server.metrics import CONTENT_TYPE, Metrics
from demask.server.provenance import Provenance

LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True)
class ServerConfig:
    """What the operator decides of the HTTP side.

    Attributes:
        keys: who may use /v1; None for everybody.
        provenance: what is written into images.
        most_bytes: of a request.
        body_seconds: for a request to arrive.
        hosts: the names under which the server may be called, which keeps web pages that point
            their own name at this machine out; () for any.
        page: offer the page at /, if it is installed.
    """

    keys: Keys | None = None
    provenance: Provenance = field(default_factory=Provenance)
    most_bytes: int = 10 * 2**20
    body_seconds: float = 30.0
    hosts: tuple[str, ...] = ()
    page: bool = True


def create_app(engine: Engine, metrics: Metrics, config: ServerConfig | None = None) -> FastAPI:
    """The application around an engine, which it starts and stops.

    Args:
        engine: its ``observer`` is ``metrics``.
        metrics: what `/metrics` tells.
        config: what the operator decides.
    """
    config = config or ServerConfig()

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        with engine:
            yield

    app = FastAPI(title="Demask", version=__version__, lifespan=running)
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_api_error)
    app.add_middleware(
        RequestGuard, keys=config.keys, most_bytes=config.most_bytes, seconds=config.body_seconds
    )
    if config.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(config.hosts))
    service = Service(engine, config.provenance)
    app.include_router(routes(service))
    app.include_router(files(service))
    add_health(app, engine, metrics)
    mount_page(app, engine, config)
    return app


def add_health(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    """For whoever watches the server."""

    @app.get("/healthz", include_in_schema=False)
    async def healthy() -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Response:
        """Requests are taken."""
        word, status = ("ready", 200) if engine.alive else ("stopping", 503)
        return JSONResponse({"status": word}, status)

    @app.get("/metrics", include_in_schema=False)
    async def numbers() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def mount_page(app: FastAPI, engine: Engine, config: ServerConfig) -> None:
    """The page at /, where `demask.ui` and Gradio are there; else the API's documentation.

    With API keys there is no page: its visitors have none.
    """
    there = all(has(name) for name in ("gradio", "demask.ui"))
    if config.page and config.keys is None and there:
        importlib.import_module("demask.ui").mount(app, engine, config.provenance)
        return

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        """Where to read on."""
        return RedirectResponse("/docs")


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None

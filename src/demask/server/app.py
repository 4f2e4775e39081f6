"""The web application: the API and its documentation, health checks, metrics and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
"""Host names of this machine."""

Page = Callable[[FastAPI, Engine, Provenance], None]
"""Mounts a page at / of an application; `demask.ui.mount` is one."""


@dataclass(frozen=True)
class ServerConfig:
    """The operator's settings of the HTTP server.

    Attributes:
        keys: the API keys that /v1 accepts; None accepts every request.
        provenance: writes the facts into images.
        most_bytes: the largest request, in bytes.
        body_seconds: the time in which a request must arrive.
        hosts: the host names that a request may have, against DNS rebinding; () for any.
        public_url: the address under which clients reach the server, with a slash at its end;
            "" for the one that each request names.
    """

    keys: Keys | None = None
    provenance: Provenance = field(default_factory=Provenance)
    most_bytes: int = 10 * 2**20
    body_seconds: float = 30.0
    hosts: tuple[str, ...] = ()
    public_url: str = ""


def create_app(
    engine: Engine,
    metrics: Metrics,
    config: ServerConfig | None = None,
    page: Page | None = None,
) -> FastAPI:
    """The application around an engine, which it starts and stops.

    Args:
        engine: generates the images; its ``observer`` is ``metrics``.
        metrics: the numbers of `/metrics`.
        config: the operator's settings.
        page: mounts the page; None redirects / to the API's documentation.
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
        RequestGuard,
        keys=config.keys,
        most_bytes=config.most_bytes,
        seconds=config.body_seconds,
        public_url=config.public_url,
    )
    if config.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(config.hosts))
    service = Service(engine, config.provenance, public_url=config.public_url)
    app.include_router(routes(service))
    app.include_router(files(service))
    add_health(app, engine, metrics)
    if page is None:
        app.add_api_route("/", to_documentation, include_in_schema=False)
    else:
        page(app, engine, config.provenance)
    return app


def add_health(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    """Add the routes for monitoring."""

    @app.get("/healthz", include_in_schema=False)
    async def healthy() -> Response:
        """The process is alive."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Response:
        """Requests are accepted."""
        word, status = ("ready", 200) if engine.alive else ("stopping", 503)
        return JSONResponse({"status": word}, status)

    @app.get("/metrics", include_in_schema=False)
    async def numbers() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def to_documentation() -> Response:
    """Redirect to the documentation of the API."""
    return RedirectResponse("/docs")

"""Serve an application over HTTP; uvicorn is imported only here."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""The time in which the first line and the headers of a request must arrive."""

MAX_CONNECTIONS = 1000


class TimeoutProtocol(H11Protocol):
    """Closes a connection on which no request arrives in time; uvicorn has no such timeout."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()

    def _expect(self) -> None:
        last = self.cycle
        asyncio.get_running_loop().call_later(HEAD_SECONDS, self._time_out, last)

    def _time_out(self, last: object) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()


def serve(app: FastAPI, host: str, port: int, seconds: float | None) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then finish the running ones.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 for any free one.
        seconds: the time for running requests to finish after SIGTERM; None for no limit.
    """
    server_of(app, host, port, seconds).run()


def server_of(app: FastAPI, host: str, port: int, seconds: float | None = None) -> uvicorn.Server:
    """A server that is not started yet; see `serve`."""
    config = uvicorn.Config(
        app,
        host,
        port,
        http=TimeoutProtocol,
        ws="none",
        log_level="info",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=None if seconds is None else int(seconds) + 5,
    )
    return uvicorn.Server(config)


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return socket.inet_pton(socket.AF_INET, host)[0] == 127
    except OSError:
        return host == "::1"

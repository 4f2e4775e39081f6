"""Serve an application over HTTP; uvicorn is imported only here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from demask.server.addresses import Network, client_name, is_trusted

HEAD_SECONDS = 15.0
"""The time in which the first line and the headers of a request must arrive."""

MAX_CONNECTIONS = 1000
"""Of all clients together; beyond it, requests get 503."""

TOO_MANY = b"too many connections of one client at once"
REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(TOO_MANY), TOO_MANY)
)


@dataclass(frozen=True)
class Listening:
    """Where and to whom a server listens.

    Attributes:
        host: the address to listen on.
        port: the port; 0 for any free one.
        seconds: the time for running requests to finish after SIGTERM; None for no limit.
        proxies: the proxies whose headers X-Forwarded-For and X-Forwarded-Proto are trusted.
        connections: the open connections of one client; proxies may have more.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seconds: float | None = None
    proxies: tuple[Network, ...] = ()
    connections: int = 256


class ListeningConfig(uvicorn.Config):
    """The configuration of uvicorn, with what `Connection` needs beside it."""

    def __init__(self, app: FastAPI, listening: Listening) -> None:
        seconds = listening.seconds
        super().__init__(
            app,
            listening.host,
            listening.port,
            http=Connection,
            ws="none",
            log_level="info",
            server_header=False,
            proxy_headers=bool(listening.proxies),
            forwarded_allow_ips=[str(proxy) for proxy in listening.proxies],
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=None if seconds is None else int(seconds) + 5,
        )
        self.listening = listening


class Connection(H11Protocol):
    """Is closed if no request arrives in time, or its client has too many connections."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._is_one_too_many():
            transport.write(REFUSAL)
            transport.close()
        else:
            self._expect()

    def _is_one_too_many(self) -> bool:
        assert isinstance(self.config, ListeningConfig)
        listening = self.config.listening
        if self.client is None or is_trusted(self.client[0], listening.proxies):
            return False
        clients = [one.client for one in self.connections if isinstance(one, Connection)]
        names = [client_name(client[0]) for client in clients if client is not None]
        return names.count(client_name(self.client[0])) > listening.connections

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _expect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop, last = asyncio.get_running_loop(), self.cycle
        self._timer = loop.call_later(HEAD_SECONDS, self._time_out, last)

    def _time_out(self, last: object) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()


def server_of(app: FastAPI, listening: Listening) -> uvicorn.Server:
    """A server whose `run` answers requests until SIGTERM or Ctrl-C, then finishes the running."""
    return uvicorn.Server(ListeningConfig(app, listening))

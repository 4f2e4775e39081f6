"""A real server on a tiny model, in a thread, at a port that is free."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import openai

from demask.generator import Generator
from demask.server.app import ServerConfig, create_app
from demask.server.engine import Engine, Limits
from demask.server.metrics import Metrics
from demask.server.run import Listening, server_of


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    port: int
    engine: Engine
    metrics: Metrics
    client: openai.OpenAI

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    generators: dict[str, Generator],
    limits: Limits | None = None,
    config: ServerConfig | None = None,
    key: str = "none",
    listening: Listening | None = None,
) -> Iterator[Running]:
    metrics = Metrics()
    engine = Engine(generators, limits or Limits(), metrics)
    server = server_of(create_app(engine, metrics, config), listening or Listening(seconds=30))
    server.config.log_level = "warning"
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client:
            yield Running(port, engine, metrics, client)
    finally:
        server.should_exit = True
        thread.join(60)

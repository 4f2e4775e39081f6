"""A server that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demask.generator import Generator
from serving import Running, serving
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="session")
def generators() -> dict[str, Generator]:
    return {"tiny": tiny_generator(), "tiny_text": tiny_text_generator()}


@pytest.fixture(scope="module")
def server(generators: dict[str, Generator]) -> Iterator[Running]:
    with serving(generators) as running:
        yield running

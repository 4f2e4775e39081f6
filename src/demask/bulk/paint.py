"""Paint jobs one after the other, letting someone watch every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from demask.generator import Generator, Job, Picture
from demask.types import DecodeState

Watch = Callable[[Job, DecodeState], None]
"""Called with a batch and its state after each step."""


def paint(generator: Generator, jobs: Iterable[Job], *watchers: Watch) -> Iterator[Picture]:
    """The pictures of the jobs in turn; no job is read before the one ahead of it is painted."""
    for job in jobs:
        state = None
        for state in generator.decode(job, generator.blank(job)):
            for watch in watchers:
                watch(job, state)
        assert state is not None
        yield from generator.finish(job, state)

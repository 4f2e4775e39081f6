"""Generate the images of jobs one after the other, with callbacks after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from demask.generator import Generator
from demask.image import GeneratedImage
from demask.jobs import Job
from demask.types import DecodeState

StepCallback = Callable[[Job, DecodeState], None]
"""Called with a batch and its state after each step."""


def generate_jobs(
    generator: Generator, jobs: Iterable[Job], *callbacks: StepCallback
) -> Iterator[GeneratedImage]:
    """The images of the jobs, in order; a job is read when the one before it is generated."""
    for job in jobs:
        state = None
        for state in generator.decode(job, generator.blank(job)):
            for callback in callbacks:
                callback(job, state)
        assert state is not None
        yield from generator.finish(job, state)

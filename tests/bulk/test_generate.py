"""Batch by batch, and its trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demask.bulk.contact_sheet import GAP
from demask.bulk.generate import generate_jobs
from demask.bulk.trace import LAST_MS, STEP_MS, Trace
from demask.generator import Generator, Job
from demask.types import DecodeState
from tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


def test_the_same_images_as_the_generator_generates(generator: Generator) -> None:
    condition_input = {"conditions": ["cat"], "num_images": 3, "batch_size": 2, "steps": 3}
    generated = list(generate_jobs(generator, generator.jobs(**condition_input)))
    for ours, theirs in zip(generated, generator.generate(**condition_input), strict=True):
        assert (ours.seed, ours.label) == (theirs.seed, theirs.label)
        np.testing.assert_array_equal(np.array(ours.image), np.array(theirs.image))


def test_no_job_is_read_before_its_turn(generator: Generator) -> None:
    read = 0

    def counted() -> Iterator[Job]:
        nonlocal read
        for job in generator.jobs(None, 6, batch_size=2, steps=1):
            read += 1
            yield job

    results = generate_jobs(generator, counted())
    assert read == 0
    next(results), next(results)
    assert read == 1
    next(results)
    assert read == 2


def test_watchers_see_every_step_of_every_batch(generator: Generator) -> None:
    seen: list[tuple[list[int], int]] = []

    def watch(job: Job, state: DecodeState) -> None:
        seen.append((job.seeds, state.step.index))

    list(generate_jobs(generator, generator.jobs(None, 3, batch_size=2, steps=3), watch))
    assert seen == [([0, 1], 0), ([0, 1], 1), ([0, 1], 2), ([2], 0), ([2], 1), ([2], 2)]


def test_the_trace_is_of_the_first_batch(generator: Generator, tmp_path: Path) -> None:
    trace = Trace(generator)
    jobs = generator.jobs("cat", 3, batch_size=1, steps=4)
    first, *_ = generate_jobs(generator, jobs, trace)
    assert len(trace.frames) == 5
    tile = slice(GAP, GAP + 128)
    blank, *_, last = (np.array(frame)[tile, tile] for frame in trace.frames)
    assert (blank == 128).all()
    np.testing.assert_array_equal(last, np.array(first.image.resize((128, 128), 0)))

    trace.write(tmp_path / "trace.gif")
    with Image.open(tmp_path / "trace.gif") as animation:
        durations = []
        for frame in range(animation.n_frames):
            animation.seek(frame)
            durations.append(animation.info["duration"])
        assert animation.info["loop"] == 0
    assert durations == [STEP_MS] * 4 + [LAST_MS]

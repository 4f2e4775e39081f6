"""The progress bar, without a terminal."""

from __future__ import annotations

from demask.bulk.generate import generate_jobs
from demask.cli.progress import generating
from tiny import tiny_generator


def test_it_moves_on_with_every_step_and_never_back() -> None:
    generator = tiny_generator()
    shown: list[float] = []
    with generating(3) as bar:
        jobs = generator.jobs(None, 3, batch_size=2, steps=4)
        watchers = [bar.watch, lambda job, state: shown.append(bar.shown)]
        images = bar.count(generate_jobs(generator, jobs, *watchers))
        shown.extend(bar.shown for _ in images)
    assert shown == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.25, 2.5, 2.75, 3.0, 3.0]

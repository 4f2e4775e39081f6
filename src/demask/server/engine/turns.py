"""Batches under way: they share the engine's thread, and take turns step by step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LOG = logging.getLogger(__name__)

SMALLER = 4.0
"""A request starts beside batches under way if its work is smaller than theirs by this factor."""


@dataclass(eq=False)
class StartedBatch:
    """A batch under way.

    Attributes:
        steps: makes a step whenever it is asked for the next item.
        images: the number of images.
        work: of one of its images; see `demask.server.engine.engine.Engine.work`.
        turn: its next step's place among those of the others, in seconds of the thread's time.
        seconds: what its steps took.
    """

    steps: Iterator[None]
    images: int
    work: float
    turn: float = 0.0
    seconds: float = 0.0

    def step(self) -> bool:
        """Make a step; whether it was the last. An exception ends the batch."""
        start = time.monotonic()
        try:
            next(self.steps)
        except StopIteration:
            return True
        except Exception:  # the thread goes on with later requests
            LOG.exception("a batch was lost")
            return True
        finally:
            took = time.monotonic() - start
            self.seconds += took
            self.turn += took
        return False


@dataclass
class Turns:
    """Batches of different sizes that get equal shares of the thread's time.

    Whoever has had the least goes next, so a small batch overtakes a large one after the step that
    the large one is at. Batches of similar size would only finish later for it: they wait.
    """

    running: list[StartedBatch] = field(default_factory=list)
    _clock: float = 0.0  # when the latest step began

    def fits(self, work: float) -> bool:
        """Whether a request of this much work may start beside all that run."""
        return all(SMALLER * work <= run.work for run in self.running)

    def start(self, steps: Iterator[None], images: int, work: float) -> None:
        """Let a batch take its turns from now on."""
        self.running.append(StartedBatch(steps, images, work, self._clock))

    def step(self) -> StartedBatch | None:
        """Make one step of the batch whose turn it is; that batch, if it has ended."""
        run = min(self.running, key=lambda each: (each.turn, each.work))
        self._clock = run.turn
        if not run.step():
            return None
        self.running.remove(run)
        return run

"""The number of steps of a training: a given number, or as many as fit into a given time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim

log = logging.getLogger(__name__)

RESERVE = 0.04
"""The fraction of the time that is reserved for the last validation and the last checkpoint."""
MEASURED = 0.2
"""The least fraction of the time that is measured before the number of steps is fixed."""
FIRST = 4
"""The first steps, which are not measured, since they compile and choose kernels."""
LATEST = 4096
"""The most steps from which the speed is measured."""
SAVES = 4
"""Checkpoints in the given time."""


class Pace:
    """The number of steps of a training.

    If the run has ``seconds``, the number is estimated after every step from the speed of the
    latest half of the steps, so that the training ends in time. It is fixed once the learning rate
    begins to fall, so that the learning rate reaches the end of its schedule; a resumed run keeps
    it.

    Args:
        run: the configuration, with the number of steps or of seconds.
        optims: the optimisers, whose learning rates fall from some step on.
        clock: returns the current time in seconds.

    Attributes:
        steps: the current estimate of the number of steps.
        settled: whether the number is fixed.
    """

    def __init__(
        self, run: TrainConfig, optims: Sequence[Optim], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.run, self.optims, self.clock = run, optims, clock
        self.steps, self.settled = run.steps, not run.seconds
        self.before, self.started, self.saved = 0.0, clock(), 0.0
        self.marks: deque[tuple[float, int]] = deque(maxlen=LATEST)
        self.unmeasured, self.measured_from = FIRST, 0.0

    @property
    def elapsed(self) -> float:
        """The duration of the training in seconds, over all its resumed runs."""
        return self.before + self.clock() - self.started

    def start(self) -> None:
        """Start the clock of this run."""
        self.started = self.clock()
        self.saved = self.before

    def after(self, step: int) -> bool:
        """Update the estimate after ``step`` steps; return whether to write a checkpoint now."""
        if not self.run.seconds:
            return step % self.run.save_every == 0
        settled_before = self.settled
        if not self.settled:
            self.estimate(step)
        if self.settled == settled_before and self.elapsed < self.saved + self.run.seconds / SAVES:
            return False
        self.saved = self.elapsed
        return True

    def estimate(self, step: int) -> None:
        """Estimate the number of steps, and fix it when the learning rate begins to fall."""
        if self.unmeasured:
            self.unmeasured -= 1
            return
        now = self.elapsed
        if not self.marks:
            self.measured_from = now
        self.marks.append((now, step))
        left = self.run.seconds * (1 - RESERVE) - now
        if left <= 0:
            self.steps = min(step, self.run.steps)
        elif now > self.marks[0][0]:
            since, first = self.marks[len(self.marks) // 2 if len(self.marks) > 2 else 0]
            rate = (step - first) / (now - since)
            self.steps = min(max(step + int(rate * left), step), self.run.steps)
        falls = min(optim.decay_start(self.steps) for optim in self.optims)
        if step >= falls and now - self.measured_from >= MEASURED * self.run.seconds:
            self.settled = True
            log.info("%d steps fit into %.0f seconds", self.steps, self.run.seconds)

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint; empty if the number of steps is given."""
        if not self.run.seconds:
            return {}
        return {"steps": self.steps, "settled": self.settled, "elapsed": self.elapsed}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Restore a `state`; None for checkpoints without one, which older versions wrote."""
        if not state or not self.run.seconds:
            return
        self.before = float(state["elapsed"])
        if state["settled"]:
            self.steps, self.settled = int(state["steps"]), True

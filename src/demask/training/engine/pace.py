"""How many steps a training takes: a given number, or what fits into a given time."""

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
"""The share of the time that is kept for the last validation and the last checkpoint."""
MEASURED = 0.2
"""The share of the time that is measured at least before the number of steps is settled."""
FIRST = 4
"""The steps at the start that are not measured: they compile, and choose kernels."""
LATEST = 4096
"""How many of the latest steps are measured at most."""
SAVES = 4
"""Checkpoints in the given time."""


class Pace:
    """The number of steps of a training.

    Where the run names seconds, the number is estimated after every step from the speed of the
    latest half of the steps, so that the training ends in time. It is settled once the learning
    rate begins to fall, so that the rate ends where its schedule ends; a resumed run keeps it.

    Args:
        run: how long to train.
        optims: the optimisers, whose learning rates fall from a step on.
        clock: the current time in seconds.

    Attributes:
        steps: the number of steps, as it is estimated now.
        settled: whether it stays.
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
        """The seconds that were trained, before a stop and after it."""
        return self.before + self.clock() - self.started

    def start(self) -> None:
        """The training begins, or goes on, now."""
        self.started = self.clock()
        self.saved = self.before

    def after(self, step: int) -> bool:
        """Take in that so many steps are done; return whether to write a checkpoint now."""
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
        """Choose the number of steps anew, and settle it when the learning rate falls."""
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
        """What a resumed run needs; nothing for a given number of steps."""
        if not self.run.seconds:
            return {}
        return {"steps": self.steps, "settled": self.settled, "elapsed": self.elapsed}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a `state`; None is that of a run from before there was any.

        A run of a given number of steps takes the number that it is given now.
        """
        if not state or not self.run.seconds:
            return
        self.before = float(state["elapsed"])
        if state["settled"]:
            self.steps, self.settled = int(state["steps"]), True

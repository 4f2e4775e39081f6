"""Stop a fine-tuning that overfits, and keep the weights from before.

A masked model that learns a few images by heart gets better where most of an image is visible, as
the rest follows from what it remembers, and worse where little is: there it is certain of one image
and others would do as well. So the loss on mostly masked images rises while the mean still falls,
and what is generated, which starts from nothing, is less and less what the captions say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

MEAN, MOST = "cross_entropy", "cross_entropy_most_hidden"
"""Names of scores; see `demask.training.losses.held_out_cross_entropy`."""


@dataclass(frozen=True)
class EarlyStop:
    """When a training is said to overfit.

    Attributes:
        patience: validations in a row that have to show it; 0 never stops.
        rise: how far the loss on mostly masked images has to be above its minimum, as a share.
    """

    patience: int = 2
    rise: float = 0.02

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, not {self.patience}")
        if self.rise < 0:
            raise ValueError(f"rise must be at least 0, not {self.rise}")


@dataclass
class Overfitting:
    """Watches the scores of validations.

    Attributes:
        rule: when to stop; None never stops.
        history: the step of each validation, its mean loss, and that on mostly masked images.
        best: the averaged weights at the lowest loss on mostly masked images.
        reason: why the training has stopped; empty while it goes on.
    """

    rule: EarlyStop | None
    history: list[tuple[int, float, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    reason: str = ""

    @property
    def watches(self) -> bool:
        """Whether it can stop at all."""
        return self.rule is not None and self.rule.patience > 0

    @property
    def best_step(self) -> int:
        """The step of `best`."""
        return min(self.history, key=lambda entry: entry[2])[0]

    def see(self, step: int, scores: Mapping[str, float], average: Mapping[str, Tensor]) -> None:
        """Take in the scores of a validation and the averaged weights that they belong to."""
        if not self.watches or MEAN not in scores or MOST not in scores:
            return
        lowest = min((most for _, _, most in self.history), default=float("inf"))
        self.history.append((step, scores[MEAN], scores[MOST]))
        if scores[MOST] < lowest:
            self.best = {name: tensor.clone() for name, tensor in average.items()}
        self.reason = self.explain()

    def explain(self) -> str:
        """Why to stop now; empty if there is no reason."""
        assert self.rule is not None
        best = min(self.history, key=lambda entry: entry[2])
        latest = self.history[-self.rule.patience :]
        if len(latest) < self.rule.patience or latest[0][0] <= best[0]:
            return ""
        rises = all(most > best[2] * (1 + self.rule.rise) for _, _, most in latest)
        falls = all(mean < best[1] for _, mean, _ in latest)
        if not (rises and falls):
            return ""
        step, mean, most = latest[-1]
        return (
            f"stopped after step {step}, as it overfits: since step {best[0]} the loss on mostly "
            f"masked images rose from {best[2]:.3f} to {most:.3f} while the mean fell from "
            f"{best[1]:.3f} to {mean:.3f}; the weights of step {best[0]} are written"
        )

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"history": self.history, "best": self.best, "reason": self.reason}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a `state`; None is that of a run from before there was any."""
        if state is not None:
            self.history = [tuple(entry) for entry in state["history"]]
            self.best, self.reason = dict(state["best"]), str(state["reason"])

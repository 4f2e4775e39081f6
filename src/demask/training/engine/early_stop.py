"""Early stopping for fine-tuning that overfits, with the best weights.

A masked model that memorises a few images improves on mostly visible images and gets worse on
mostly masked ones, for which it predicts one memorised image. So the loss on mostly masked images
rises while the mean loss still falls, and generated images follow their captions less and less.
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
    """The rule that decides whether a training overfits.

    Attributes:
        patience: consecutive validations in which it must hold; 0 = never stop.
        rise: relative rise of the loss on mostly masked images above its minimum.
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
    """Detects overfitting from the scores of validations.

    Attributes:
        rule: the rule; None = never stop.
        history: the step of each validation, its mean loss, and that on mostly masked images.
        best: the averaged weights at the lowest loss on mostly masked images.
        reason: why the training has stopped; empty while it runs.
    """

    rule: EarlyStop | None
    history: list[tuple[int, float, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    reason: str = ""

    @property
    def watches(self) -> bool:
        """Whether there is a rule."""
        return self.rule is not None and self.rule.patience > 0

    @property
    def best_step(self) -> int:
        """The step of `best`."""
        return min(self.history, key=lambda entry: entry[2])[0]

    def see(self, step: int, scores: Mapping[str, float], average: Mapping[str, Tensor]) -> None:
        """Add the scores of a validation and the averaged weights that were validated."""
        if not self.watches or MEAN not in scores or MOST not in scores:
            return
        lowest = min((most for _, _, most in self.history), default=float("inf"))
        self.history.append((step, scores[MEAN], scores[MOST]))
        if scores[MOST] < lowest:
            self.best = {name: tensor.clone() for name, tensor in average.items()}
        self.reason = self.explain()

    def explain(self) -> str:
        """The reason to stop now; empty if there is none."""
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
        """The state for a checkpoint."""
        return {"history": self.history, "best": self.best, "reason": self.reason}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Restore a `state`; None for checkpoints without one."""
        if state is not None:
            self.history = [tuple(entry) for entry in state["history"]]
            self.best, self.reason = dict(state["best"]), str(state["reason"])

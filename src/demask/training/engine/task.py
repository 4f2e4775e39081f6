"""The interface between the training loop and what is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from demask.data.tokens import TokenCache
from demask.training.engine.early_stop import EarlyStop
from demask.training.engine.optim import Optim

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One loss and the module that it trains.

    Attributes:
        module: the name of the module in ``Task.modules``.
        optim: its optimiser.
        start: the first step of the phase.
    """

    module: str
    optim: Optim
    start: int = 0


class Task(ABC):
    """A training: its modules, batches and losses.

    All random numbers come from the generator that is passed in, which the loop derives from the
    seed and the step, so that a resumed run equals an uninterrupted one.

    Attributes:
        modules: the trained modules by name; the loop replaces them by wrapped ones.
        main: the name of the module whose average is exported.
        phases: the losses of a step, in order, by the names that `loss` takes.
        examples: the number of training examples.
        groups: the examples that can share a batch; None = all.
        on_cpu: names of a batch's tensors that are read as numbers; they stay on the CPU, which
            avoids a synchronisation with the device.
        early_stop: the rule of early stopping; None = none.
    """

    modules: dict[str, nn.Module]
    main: str
    phases: dict[str, Phase]
    examples: int
    groups: Sequence[Tensor] | None = None
    on_cpu: frozenset[str] = frozenset({"shape"})
    early_stop: EarlyStop | None = None

    @abstractmethod
    def identity(self) -> str:
        """Identifies recipe, model and data; a run only resumes from the same identity."""

    @abstractmethod
    def load(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The examples of these indices, augmented, on the CPU. Runs in another thread."""

    @abstractmethod
    def loss(
        self, phase: str, batch: Batch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a phase, and the values to log."""

    @abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Held-out scores of the averaged model."""

    @abstractmethod
    def sample(self, model: nn.Module) -> Tensor:
        """A sample image (3, H, W) in [0, 1] of the averaged model."""

    @abstractmethod
    def export(self, model: nn.Module, path: Path, facts: dict[str, object]) -> None:
        """Write the averaged model as a checkpoint that users load."""


def check_classes(tokens: TokenCache, base: nn.Module) -> None:
    """Raise a ValueError unless the images have as many classes as a model."""
    count: int = base.config.num_classes  # type: ignore[union-attr, assignment]
    if len(tokens.class_names) != count:
        raise ValueError(
            f"the images have {len(tokens.class_names)} classes, the model has {count}"
        )

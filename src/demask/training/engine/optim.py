"""Optimisers and learning rates: AdamW, or Muon for the matrices with AdamW for the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from demask.registry import Table
from demask.training.engine.muon import Muon

DECAYS: Table[Callable[[float], float]] = Table(
    "learning-rate decay",
    {
        "linear": lambda r: 1 - r,
        "cosine": lambda r: (1 + math.cos(math.pi * r)) / 2,
        "square_root": lambda r: 1 - math.sqrt(r),
    },
)


@dataclass(frozen=True)
class Optim:
    """The optimiser and its learning-rate schedule.

    Attributes:
        optimizer: ``adamw`` or ``muon`` (matrices inside blocks by Muon, the rest by AdamW).
        learning_rate: AdamW's peak rate.
        matrix_learning_rate: Muon's peak rate, scaled to match AdamW's update size.
        betas: AdamW's betas.
        weight_decay: weight decay of the matrices; other parameters have none.
        warmup: steps of linear warm-up.
        decay: the shape of the last part of the training, a row of `DECAYS`.
        decay_fraction: the length of that part, as a fraction of the training (1 = all after the
            warm-up, 0 = a constant rate).
        clip: largest gradient norm; 0 = no clipping.
    """

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.96)
    weight_decay: float = 0.02
    warmup: int = 100
    decay: str = "linear"
    decay_fraction: float = 0.3
    clip: float = 1.0

    def __post_init__(self) -> None:
        DECAYS[self.decay]
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"unknown optimizer '{self.optimizer}'. Valid: adamw, muon")
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"decay_fraction must be within 0 and 1, not {self.decay_fraction}")

    def factor(self, step: int, steps: int) -> float:
        """The factor of the peak learning rates at a step."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        start = self.decay_start(steps)
        if step < start:
            return warm
        return warm * DECAYS[self.decay]((step - start) / max(steps - start, 1))

    def decay_start(self, steps: int) -> float:
        """The step from which the learning rates fall, in a training of ``steps`` steps."""
        return steps - self.decay_fraction * (steps - self.warmup)

    def build(self, module: nn.Module) -> list[Optimizer]:
        """The optimisers of one module's trainable parameters."""
        trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        by_muon = {n for n, p in trained if self.optimizer == "muon" and is_block_matrix(n, p)}
        groups = [
            {
                "params": [p for n, p in trained if n not in by_muon and (p.ndim >= 2) == matrix],
                "weight_decay": self.weight_decay if matrix else 0.0,
            }
            for matrix in (True, False)
        ]
        groups = [group for group in groups if group["params"]]
        optimizers: list[Optimizer] = []
        if groups:
            optimizers.append(torch.optim.AdamW(groups, self.learning_rate, betas=self.betas))
        if by_muon:
            optimizers.append(
                Muon(
                    [p for n, p in trained if n in by_muon],
                    self.matrix_learning_rate,
                    weight_decay=self.weight_decay,
                )
            )
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        return optimizers


def is_block_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether Muon trains a parameter: a matrix of a repeated block, not an embedding or the head.

    Matrices of a block's modulation by the condition, whose input has one row per image, are
    excluded.
    """
    inside = re.search(r"(^|\.|_)(blocks|layers)\.\d+\.", name) and not re.search(
        r"\.(norm|modulate\.)", name
    )
    return parameter.ndim == 2 and bool(inside) and name.endswith(".weight")


def set_learning_rate(optimizers: list[Optimizer], factor: float) -> None:
    """Scale every group's peak learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor

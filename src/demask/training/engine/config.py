"""How a run is trained: its length, batches, precision and reports."""

from __future__ import annotations

from dataclasses import dataclass

from demask.training.engine.precision import PRECISIONS


@dataclass(frozen=True)
class TrainConfig:
    """The length, the batches, the precision and the reports of a training.

    Attributes:
        steps: number of optimiser steps; with ``seconds``, the largest number.
        batch_size: examples per step, over all devices.
        accumulate: gradient accumulation steps, to save memory.
        seed: random seed.
        ema_decay: decay of the averaged weights.
        precision: ``auto`` (bfloat16 if it is fast on the device), ``no`` (float32), ``bf16`` or
            ``fp16``.
        compile: whether to compile the modules, which is faster on a GPU.
        save_every: steps between checkpoints.
        validate_every: steps between held-out scores and sample images.
        log_every: steps between log lines.
        tracker: ``tensorboard``, ``wandb`` or ``none``.
        seconds: duration of the training in seconds, from which the number of steps is chosen (see
            `Pace`); checkpoints are then written after each quarter of it instead of every
            ``save_every`` steps. 0 = ``steps`` steps.
        readers: threads that read batches ahead, one batch each.
    """

    steps: int
    batch_size: int = 64
    accumulate: int = 1
    seed: int = 0
    ema_decay: float = 0.999
    precision: str = "auto"
    compile: bool = False
    save_every: int = 250
    validate_every: int = 1000
    log_every: int = 20
    tracker: str = "tensorboard"
    seconds: float = 0.0
    readers: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"unknown precision '{self.precision}'. Valid: {', '.join(PRECISIONS)}"
            )
        if self.tracker not in ("tensorboard", "wandb", "none"):
            raise ValueError(f"unknown tracker '{self.tracker}'. Valid: tensorboard, wandb, none")
        if not self.seconds >= 0:
            raise ValueError(f"seconds must be at least 0, not {self.seconds}")
        counts = "steps", "batch_size", "accumulate", "save_every", "validate_every", "readers"
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

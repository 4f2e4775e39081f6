"""Progress of a training: log lines, and the curves and images of a tracker."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch import Tensor

from demask.training.engine.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.optim import Optimizer


log = logging.getLogger(__name__)


class Report:
    """Logs a run's values every ``run.log_every`` steps, with throughput and time left."""

    def __init__(self, accelerator: Accelerator, run: TrainConfig, first_step: int) -> None:
        self.accelerator, self.run = accelerator, run
        self.logged_at, self.logged_step = time.monotonic(), first_step
        if run.tracker != "none":
            accelerator.init_trackers("log")

    def step(
        self,
        step: int,
        steps: int,
        values: dict[str, Tensor],
        optimizers: dict[str, list[Optimizer]],
    ) -> None:
        """Report the values of one of ``steps`` steps."""
        if step % self.run.log_every and step < steps:
            return
        now = time.monotonic()
        seconds = (now - self.logged_at) / max(step - self.logged_step, 1)
        self.logged_at, self.logged_step = now, step
        numbers: dict[str, Any] = {name: float(value) for name, value in values.items()}
        rate = self.run.batch_size / seconds
        left = timedelta(seconds=round(seconds * (steps - step)))
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self.accelerator.is_main_process:
            log.info("step %d/%d  %s  %.1f/s  %s left", step, steps, shown, rate, left)
        numbers["throughput"] = rate
        for name, group in optimizers.items():
            numbers[f"{name}/learning_rate"] = group[0].param_groups[0]["lr"]
        self.accelerator.log(numbers, step=step)

    def scores(self, step: int, scores: dict[str, float], image_CHW: Tensor) -> None:
        """Report held-out scores and a sample image (3, H, W) in [0, 1]."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d  held out: %s", step, shown)
        self.accelerator.log({f"held_out/{k}": v for k, v in scores.items()}, step=step)
        image_HWC = (image_CHW.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        layout = {"dataformats": "NHWC"} if self.run.tracker == "tensorboard" else {}
        for tracker in self.accelerator.trackers:
            tracker.log_images({"samples": image_HWC[None]}, step=step, **layout)

    def close(self) -> None:
        """Finish the trackers' files."""
        self.accelerator.end_training()

"""The training loop: resumable to the bit, on one CPU or many GPUs.

The examples of a step, their augmentation and masks, and dropout are functions of (seed, step). So
a checkpoint holds only weights, optimiser states and the step.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import Optimizer

from demask import rng
from demask.device import default_device
from demask.training.engine import checkpoints
from demask.training.engine.config import TrainConfig
from demask.training.engine.early_stop import Overfitting
from demask.training.engine.ema import EMA
from demask.training.engine.optim import set_learning_rate
from demask.training.engine.order import step_indices
from demask.training.engine.pace import Pace
from demask.training.engine.precision import resolve_precision, training_attention
from demask.training.engine.read_ahead import read_ahead
from demask.training.engine.report import Report
from demask.training.engine.task import Batch, Task

log = logging.getLogger(__name__)
FIXED = ("seed", "batch_size", "ema_decay")
"""Fields of the configuration that a resumed run must not change."""


class Trainer:
    """One run of one task in one folder."""

    def __init__(self, task: Task, run: TrainConfig, out: Path) -> None:
        self.task, self.run, self.out = task, run, out
        device = torch.device(default_device())
        precision = resolve_precision(run.precision, device)
        forget_other_precision(precision)
        self.accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=precision,
            log_with=None if run.tracker == "none" else run.tracker,
            project_dir=str(out),
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if run.batch_size % (self.world * run.accumulate):
            raise ValueError(
                f"batch_size {run.batch_size} cannot be split over {self.world} devices times "
                f"{run.accumulate} accumulation parts"
            )
        if run.seconds and self.world > 1:
            raise ValueError("a training for a number of seconds runs on one device")
        self.raw = dict(task.modules)
        self.optimizers: dict[str, list[Optimizer]] = {}
        for name, phase in task.phases.items():
            module = task.modules[phase.module].to(self.accelerator.device)
            built = phase.optim.build(module)
            prepared = self.accelerator.prepare(module, *built)
            task.modules[phase.module], self.optimizers[name] = prepared[0], list(prepared[1:])
            if run.compile:
                task.modules[phase.module] = torch.compile(task.modules[phase.module])  # type: ignore[assignment]
        self.checkpoints = out / "checkpoints" / task.main
        self.main = self.raw[task.main]
        self.average = EMA(self.main.named_parameters(), run.ema_decay)
        self.pace = Pace(run, [phase.optim for phase in task.phases.values()])
        self.overfitting = Overfitting(task.early_stop)
        self.step = 0

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "identity": self.task.identity(),
            "run": self.fixed(),
            "modules": {name: module.state_dict() for name, module in self.raw.items()},
            "optimizers": {n: [o.state_dict() for o in os] for n, os in self.optimizers.items()},
            "average": self.average.tensors,
            "pace": self.pace.state(),
            "overfitting": self.overfitting.state(),
        }

    def fixed(self) -> dict[str, Any]:
        """The fields of the configuration that a resumed run must share."""
        return {name: getattr(self.run, name) for name in FIXED}

    def resume(self) -> None:
        """Resume from the newest readable checkpoint, if there is one."""
        state = checkpoints.load_latest(self.checkpoints)
        if state is None:
            return
        if state["identity"] != self.task.identity():
            raise ValueError(
                f"{self.out} holds a run of another model or other data; choose another folder"
            )
        for name, saved in state.get("run", {}).items():
            if saved != getattr(self.run, name):
                raise ValueError(
                    f"{self.out} holds a run with {name} {saved}, not {getattr(self.run, name)}; "
                    "keep it or choose another folder"
                )
        for name, tensors in state["modules"].items():
            self.raw[name].load_state_dict(tensors)
        for name, optimizers in self.optimizers.items():
            for optimizer, saved in zip(optimizers, state["optimizers"][name], strict=True):
                optimizer.load_state_dict(saved)
        device = self.accelerator.device
        self.average.tensors = {n: t.to(device) for n, t in state["average"].items()}
        self.overfitting.restore(state.get("overfitting"))
        self.step = state["step"]
        self.pace.restore(state.get("pace"))
        log.info("resuming %s after step %d", self.out, self.step)

    def fit(self) -> Path:
        """Train to the end, or until it overfits; return the path of the exported model.

        Raises:
            ValueError: another process trains in this folder, or it holds another run.
        """
        if not self.accelerator.is_main_process:
            return self.fit_alone()
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.out / f".{self.task.main}.lock", timeout=0):
                return self.fit_alone()
        except Timeout:
            raise ValueError(
                f"{self.out}: another process trains there; wait for it or choose another folder"
            ) from None

    def fit_alone(self) -> Path:
        """`fit` without the lock of the folder."""
        self.resume()
        if self.overfitting.reason:
            log.warning("%s", self.overfitting.reason)
            return self.export_path
        report = Report(self.accelerator, self.run, self.step)
        self.pace.start()
        for batches in self.batches():
            values = self.update(batches)
            self.step += 1
            save = self.pace.after(self.step)
            report.step(self.step, self.pace.steps, values, self.optimizers)
            last = self.step >= self.pace.steps
            if last or self.step % self.run.validate_every == 0:
                self.show(report)
            if self.overfitting.reason:
                log.warning("%s", self.overfitting.reason)
                self.save()
                break
            if last or save:
                self.save()
        report.close()
        return self.export_path

    @property
    def export_path(self) -> Path:
        """Where the averaged model is written."""
        return self.out / f"{self.task.main}.safetensors"

    def update(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One optimiser step of every phase."""
        values: dict[str, Tensor] = {}
        for name, phase in self.task.phases.items():
            if self.step < phase.start:
                continue
            generator = self.generator("loss", name)
            torch.manual_seed(rng.derive(self.run.seed, "dropout", self.step, self.rank, name))
            module = self.task.modules[phase.module]
            for part, batch in enumerate(batches):
                wait = part < len(batches) - 1 and hasattr(module, "no_sync")
                with self.accelerator.no_sync(module) if wait else torch.enable_grad():
                    with training_attention(self.accelerator.device):
                        loss, logged = self.task.loss(name, batch, self.step, generator)
                    self.accelerator.backward(loss / len(batches))
            if phase.optim.clip:
                values[f"{name}/gradient"] = self.accelerator.clip_grad_norm_(
                    module.parameters(), phase.optim.clip
                )
            factor = phase.optim.factor(self.step, self.pace.steps)
            set_learning_rate(self.optimizers[name], factor)
            for optimizer in self.optimizers[name]:
                optimizer.step()
            for trained in self.raw.values():
                trained.zero_grad(set_to_none=True)
            values |= {f"{name}/{key}": value.detach() for key, value in logged.items()}
        self.average.update(self.main.named_parameters(), self.step)
        return values

    def generator(self, *purpose: int | str) -> torch.Generator:
        """A generator for this step, this device and a purpose."""
        seed = rng.derive(self.run.seed, self.step, self.rank, *purpose)
        return torch.Generator().manual_seed(seed)

    def batches(self) -> Iterator[list[Batch]]:
        """The batches of the remaining steps, read ahead, each in its accumulation parts."""
        device = self.accelerator.device

        def read(step: int) -> list[Batch]:
            indices = step_indices(
                self.task.examples, self.run, step, self.rank, self.world, self.task.groups
            )
            seed = rng.derive(self.run.seed, step, self.rank, "load")
            generator = torch.Generator().manual_seed(seed)
            parts = [self.task.load(part, generator) for part in indices.chunk(self.run.accumulate)]
            if device.type == "cuda":  # copied while the device computes
                parts = [{k: v.pin_memory() for k, v in part.items()} for part in parts]
            return parts

        for batches in read_ahead(read, self.step, lambda: self.pace.steps, self.run.readers):
            yield [self.placed(batch) for batch in batches]

    def placed(self, batch: Batch) -> Batch:
        """A batch on the device, except for the tensors that stay on the CPU."""
        device, stay = self.accelerator.device, self.task.on_cpu
        return {n: t if n in stay else t.to(device, non_blocking=True) for n, t in batch.items()}

    def averaged(self) -> nn.Module:
        """A copy of the main module with the averaged weights, or the best ones if it overfits."""
        stopped = bool(self.overfitting.reason)
        tensors = self.overfitting.best if stopped else self.average.tensors
        model = copy.deepcopy(self.main).eval()
        for name, parameter in model.named_parameters():
            parameter.data.copy_(tensors[name])
        return model

    def show(self, report: Report) -> None:
        """Compute and report held-out scores and a sample image, in the main process."""
        if self.accelerator.is_main_process:
            model = self.averaged()
            with torch.no_grad():
                scores = self.task.validate(model)
                report.scores(self.step, scores, self.task.sample(model))
            self.overfitting.see(self.step, scores, self.average.tensors)
        self.accelerator.wait_for_everyone()
        if self.overfitting.watches and self.world > 1:  # the main process decides for all
            (self.overfitting.reason,) = broadcast_object_list([self.overfitting.reason])

    def save(self) -> None:
        """Write a checkpoint and export the averaged model, in the main process."""
        if self.accelerator.is_main_process:
            checkpoints.save(self.checkpoints, self.step, self.state())
            facts: dict[str, object] = {"steps": self.step, "seed": self.run.seed}
            if self.overfitting.reason:
                facts |= {"steps": self.overfitting.best_step, "stopped": self.overfitting.reason}
            self.task.export(self.averaged(), self.export_path, facts)
        self.accelerator.wait_for_everyone()


def forget_other_precision(precision: str) -> None:
    """Reset accelerate's state, which does not allow a second precision in one process."""
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()


def main_process_first() -> AbstractContextManager[None]:
    """A context that the main process runs before the other processes."""
    return PartialState().main_process_first()

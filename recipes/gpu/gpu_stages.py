"""Do the stages of a plan: `python gpu_stages.py PLAN DATA WORK OUT DEADLINE [STAGE ...]`.

`gpu_models.py` starts it, after the environment was checked, and starts it again if it dies, then
with the names of stages that have killed it twice, which are left out. The finished work is in
state.json in the folder of the work; an interrupted training resumes from its checkpoint. Each
stage has its share of the remaining seconds.
"""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_environment import end_with_parent, use
from gpu_plan import Plan, Stage, read_plan

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEAST = 2.0
"""Seconds below which no stage is begun."""

log = logging.getLogger("demask.gpu")


class SkippedError(Exception):
    """A stage cannot be done; the message says why."""


class Scores(logging.Handler):
    """Keeps the latest speed and held-out scores that a training logs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Read a record of `demask.training.engine.report`."""
        if not isinstance(record.args, tuple):
            return
        if str(record.msg).startswith("step %d/%d"):
            step, _, values, rate, _ = record.args
            self.found |= {"steps": step, "values": values, "images a second": rate}
        elif "held out" in str(record.msg):
            self.found["held out"] = record.args[1]


class Worker:
    """The stages of a plan, as far as they fit into the time.

    Args:
        plan: what to do.
        path: the file of the plan.
        data: the folder of the data.
        work: the folder of the work.
        out: the folder of the results.
        deadline: when to end, in seconds of `time.time`.
        left_out: the names of stages that are left out.
    """

    def __init__(
        self,
        plan: Plan,
        path: Path,
        data: Path,
        work: Path,
        out: Path,
        deadline: float,
        left_out: Sequence[str] = (),
    ) -> None:
        self.plan, self.path, self.data, self.work, self.out = plan, path, data, work, out
        self.deadline, self.left_out = deadline, left_out
        self.state: dict[str, Any] = {"done": {}, "seconds": {}, "running": ""}
        if (work / "state.json").is_file():
            self.state = json.loads((work / "state.json").read_text())
        self.notes: dict[str, str] = {}
        self.decoding: subprocess.Popen[bytes] | None = None

    @property
    def left(self) -> float:
        """The remaining seconds for stages."""
        return self.deadline - self.plan.reserve - time.time()

    def run(self) -> None:
        """Do the stages that are not done."""
        if any(stage.train and stage.name not in self.state["done"] for stage in self.plan.stages):
            self.decode()
            import gpu_training  # noqa: F401  not in the time of the first stage
        for stage in self.plan.stages:
            if stage.name in self.state["done"]:
                log.info("%s: done before", stage.name)
            else:
                self.attempt(stage)
            self.deliver(stage)
        log.info("%d of %d stages are done", len(self.state["done"]), len(self.plan.stages))

    def decode(self) -> None:
        """Start the decoding of the images in the background."""
        workers = max(1, (os.cpu_count() or 1) - 2)
        words = [sys.executable, HERE / "gpu_decode.py", self.path, self.data, self.work, workers]
        self.decoding = subprocess.Popen(list(map(str, words)))

    def attempt(self, stage: Stage) -> None:
        """Do a stage, or record the reason why it was not done."""
        scores = Scores()
        logging.getLogger("demask.training.engine.report").addHandler(scores)
        try:
            if lacking := [name for name in stage.needs if name not in self.state["done"]]:
                raise SkippedError(f"it needs {', '.join(lacking)}")
            if stage.name in self.left_out:
                raise SkippedError("it has killed the process twice")
            sources = [self.decoded(name) for name in (stage.train, stage.held_out) if name]
            start, seconds = time.time(), self.seconds_of(stage)
            log.info("%s: %.0f seconds", stage.name, seconds)
            self.do(stage, sources, start + seconds)
            self.state["done"][stage.name] = {"seconds": time.time() - start, **scores.found}
        except SkippedError as reason:
            self.notes[stage.name] = str(reason)
            log.warning("%s is left out: %s", stage.name, reason)
        except Exception as error:  # the next stages may well succeed
            self.notes[stage.name] = f"{type(error).__name__}: {error}"
            log.error("%s failed:\n%s", stage.name, traceback.format_exc())
            if is_lost(error):
                os._exit(3)  # the state says that this stage was running
        finally:
            self.state["running"] = ""
            logging.getLogger("demask.training.engine.report").removeHandler(scores)
            self.keep()
            tidy()

    def seconds_of(self, stage: Stage) -> float:
        """The seconds of a stage: its share of the rest, or those before an interruption."""
        done = self.state["done"]
        open_shares = [s.share for s in self.plan.stages if s.name not in done]
        later = open_shares[-len(self.plan.stages[self.plan.stages.index(stage) :]) :]
        share = self.left * stage.share / max(sum(later), stage.share)
        before = self.state["seconds"].get(stage.name)
        seconds = min(before, self.left) if before else share
        if seconds < LEAST:
            raise SkippedError("no time is left")
        self.state["seconds"][stage.name] = seconds
        self.state["running"] = stage.name
        self.keep()
        return float(seconds)

    def do(self, stage: Stage, sources: Sequence[str], end: float) -> None:
        """Do a stage until a time."""
        if stage.kind == "benchmark":
            self.measure(stage, end)
            return
        from gpu_training import train

        train(stage, self.work, (sources[0], sources[-1]), end)

    def decoded(self, name: str) -> str:
        """Wait for decoded images, and return their source."""
        place = self.work / "images" / name
        failed = place.with_name(name + ".failed")
        while not place.exists():
            ended = self.decoding is None or self.decoding.poll() is not None
            if place.exists():
                break
            if failed.exists():
                raise SkippedError(failed.read_text(encoding="utf-8"))
            if ended or self.left < LEAST:
                raise SkippedError(f"the images '{name}' are not decoded")
            time.sleep(0.1)
        return f"decoded:{place}"

    def measure(self, stage: Stage, end: float) -> None:
        """Measure speeds in a separate process, whose results up to the deadline are written."""
        words = [sys.executable, ROOT / "benchmarks" / "gpu_speed.py", *stage.options]
        seconds = max(1.0, end - time.time())
        words += ["--seconds", f"{seconds:.0f}", "--result", self.out / "gpu.json"]
        try:
            subprocess.run(
                list(map(str, words)), timeout=seconds + self.plan.reserve / 3, check=True
            )
        except subprocess.TimeoutExpired:
            log.warning("the benchmarks were ended, as the time was over")
        if not (self.out / "gpu.json").is_file():
            raise RuntimeError("the benchmarks measured nothing")

    def deliver(self, stage: Stage) -> None:
        """Write the results that a stage is part of, and the report."""
        from gpu_files import write_bundle

        for bundle in self.plan.bundles:
            if stage.name not in bundle.after or stage.name not in self.state["done"]:
                continue
            try:
                size = write_bundle(bundle, self.work, self.out)
                log.info("%s: %.1f MB", self.out / bundle.file, size / 1e6)
            except ValueError as error:
                self.notes[bundle.file] = str(error)
                log.error("%s", error)
        self.report()

    def report(self) -> None:
        """Write which stages were done, and why the others were not."""
        from demask.files import write_text

        told = {"done": self.state["done"], "left out": self.notes}
        write_text(self.out / "report.json", json.dumps(told, indent=1) + "\n")
        if (self.work / "log.txt").is_file():
            shutil.copyfile(self.work / "log.txt", self.out / "log.txt")

    def keep(self) -> None:
        """Write the state."""
        from demask.files import write_text

        write_text(self.work / "state.json", json.dumps(self.state, indent=1))


def is_lost(error: Exception) -> bool:
    """Whether the device can only be used again by another process."""
    kinds = {cls.__name__ for cls in type(error).__mro__}
    return "AcceleratorError" in kinds or ("CUDA error" in str(error))


def tidy() -> None:
    """Free the memory of a stage, and allow the next one another precision."""
    import torch
    from accelerate.state import AcceleratorState

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    AcceleratorState._reset_state(reset_partial_state=True)


def prepared(work: Path) -> Any:
    """Acquire the lock of a folder, and open the log."""
    work.mkdir(parents=True, exist_ok=True)
    lock = (work / "lock").open("w")
    for attempt in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == 19:
                raise SystemExit(f"another run is at work in {work}") from None
            time.sleep(0.25)
    form = logging.Formatter("%(asctime)s %(message)s", "%X")
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers.append(logging.FileHandler(work / "log.txt"))
    for handler in handlers:
        handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("demask").setLevel(logging.INFO)
    return lock


def main() -> None:
    """Do the stages."""
    path, data, work, out = (Path(word).absolute() for word in sys.argv[1:5])
    use(work / "site-packages")
    end_with_parent()
    lock = prepared(work)
    import torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    plan = read_plan(path, {"data": data, "work": work})
    Worker(plan, path, data, work, out, float(sys.argv[5]), sys.argv[6:]).run()
    lock.close()


if __name__ == "__main__":
    main()

"""Search the schedules of a number of steps for the best metric (as in AutoNAT, CVPR 2024).

First curves of a few numbers are searched, then optionally every step. All candidates use the same
seeds, so that they differ only in their settings; the best few are measured again with other seeds,
because the selection of the best is biased.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from demask.evaluation.metrics import METRICS
from demask.files import write_text
from demask.fingerprint import fingerprint
from demask.old_names import current_settings
from demask.preset_file import Preset
from demask.settings import Settings, settings_from
from demask.sweeps.recipe import Trial
from demask.sweeps.result import Result
from demask.sweeps.runner import SweepRunner
from demask.sweeps.search import Search, Tried
from demask.sweeps.space import Curves, Space, Steps, searchable
from demask.sweeps.sweep import Progress, loss
from demask.sweeps.table import number


@dataclass(frozen=True)
class Tuning:
    """The configuration of a search.

    Attributes:
        budget: evaluations of curves, including the start.
        refine: further evaluations with a number for each step, around the best curves.
        count: images per evaluation.
        seed: seed of the first image and of the search.
        metric: the metric to improve, over all extractors.
        parts: the searched parts; () = all that the settings have.
        finalists: number of candidates that are measured again, besides the start.
        final_count: images per finalist.
        final_seed: seed of their first image.
    """

    budget: int = 24
    refine: int = 0
    count: int = 1000
    seed: int = 0
    metric: str = "frechet"
    parts: tuple[str, ...] = ()
    finalists: int = 3
    final_count: int = 2000
    final_seed: int = 2_000_000

    def __post_init__(self) -> None:
        METRICS[self.metric]
        for name in ("budget", "finalists"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.refine < 0:
            raise ValueError(f"refine must be at least 0 evaluations, not {self.refine}")


@dataclass(frozen=True)
class Entry:
    """One evaluation of a search, as a line of its log.

    Attributes:
        stage: ``start``, ``curves``, or ``steps`` around some settings.
        point: the point.
        loss: the loss.
        settings: the settings of the point.
    """

    stage: str
    point: Mapping[str, float]
    loss: float
    settings: Settings

    def line(self) -> str:
        """The entry as JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def read(cls, line: str) -> Entry:
        """Parse a `line`."""
        tables: dict[str, Any] = json.loads(line)
        return cls(**{**tables, "settings": settings_from(current_settings(tables["settings"]))})


@dataclass(frozen=True)
class Log:
    """The evaluations of a search, stored in a file so that it can be resumed.

    Attributes:
        path: the file, a line for each evaluation.
        entries: the evaluations so far.
    """

    path: Path
    entries: list[Entry]

    @classmethod
    def open(cls, path: Path) -> Log:
        """Read a log.

        Raises:
            ValueError: a line is invalid.
        """
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        try:
            return cls(path, [Entry.read(line) for line in text.splitlines()])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no log of a search; delete it") from error

    def add(self, entry: Entry) -> None:
        """Append an evaluation."""
        self.entries.append(entry)
        write_text(self.path, "".join(entry.line() for entry in self.entries))

    def of(self, stage: str) -> list[Entry]:
        """The evaluations of a stage."""
        return [entry for entry in self.entries if entry.stage == stage]

    def best(self, *stages: str) -> Entry:
        """The best evaluation of some stages."""
        return min((e for e in self.entries if e.stage in stages), key=lambda e: e.loss)


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        best: the winner among the finalists, measured with the final seeds.
        finalists: all finalists, best first.
        start: the result of the initial settings, measured in the same way.
        log: all evaluations.
    """

    best: Result
    finalists: list[Result]
    start: Result
    log: list[Entry]

    def to_preset(self) -> Preset:
        """The best settings, as a preset."""
        return Preset(self.best.trial.settings, scores(self.best))


def tune(
    runner: SweepRunner, start: Settings, tuning: Tuning, progress: Progress | None = None
) -> Tuned:
    """Search around some settings; the same call again resumes the search.

    Args:
        runner: runs the candidates; its folder stores the log and the results.
        start: the initial settings, with the wanted number of steps.
        tuning: the configuration.
        progress: progress callbacks.

    Raises:
        ValueError: nothing to search, a metric that is not measured, or settings that the model
            does not support.
    """
    told = progress or Progress()
    parts = searchable(start, tuning.parts)
    first = runner.path(Trial("start", start, count=tuning.count, seed=tuning.seed))
    search = fingerprint(first.stem, tuning.metric, *parts)
    log = Log.open(runner.folder / f"search-{search}.jsonl")
    if not log.of("start"):
        evaluate(runner, Entry("start", {}, 0.0, start), tuning, told, log)
    explore(runner, "curves", Curves(start, parts), tuning.budget - 1, tuning, told, log)
    if tuning.refine:
        around = log.best("start", "curves").settings
        stage = f"steps around {fingerprint(*asdict(around).items())}"
        explore(runner, stage, Steps(around, parts), tuning.refine, tuning, told, log)
    return decide(runner, start, tuning, told, log)


def explore(
    runner: SweepRunner,
    stage: str,
    space: Space,
    evaluations: int,
    tuning: Tuning,
    progress: Progress,
    log: Log,
) -> None:
    """Make the evaluations of a stage that the log lacks."""
    tried = [Tried(entry.point, entry.loss) for entry in log.of(stage)]
    if len(tried) >= evaluations:
        return
    search = Search(space.dimensions, tuning.seed, tried)
    for _ in range(evaluations - len(tried)):
        point = search.ask()
        candidate = Entry(stage, point, 0.0, space.settings(point))
        search.tell(evaluate(runner, candidate, tuning, progress, log).loss)


def evaluate(
    runner: SweepRunner, entry: Entry, tuning: Tuning, progress: Progress, log: Log
) -> Entry:
    """Measure a candidate, and write it to the log."""
    trial = Trial(entry.stage, entry.settings, count=tuning.count, seed=tuning.seed)
    progress.start(trial, len(log.entries) + 1, tuning.budget + tuning.refine)
    result = runner.measured(trial, progress.images)
    done = replace(entry, loss=loss(result, tuning.metric))
    log.add(done)
    progress.end(result)
    return done


def decide(
    runner: SweepRunner, start: Settings, tuning: Tuning, progress: Progress, log: Log
) -> Tuned:
    """Measure the finalists and the start with other seeds."""
    ranked = dict.fromkeys(e.settings for e in sorted(log.entries, key=lambda e: e.loss))
    ranked.pop(start, None)
    chosen = [start, *list(ranked)[: tuning.finalists]]
    results = []
    for order, settings in enumerate(chosen, start=1):
        trial = Trial(
            "final", settings, count=tuning.final_count, seed=tuning.final_seed, final=True
        )
        progress.start(trial, order, len(chosen))
        results.append(runner.measured(trial, progress.images))
        progress.end(results[-1])
    ordered = sorted(results, key=lambda result: loss(result, tuning.metric))
    return Tuned(ordered[0], ordered, results[0], log.entries)


def scores(result: Result) -> tuple[str, ...]:
    """The values and the cost of a result, as text."""
    cost = f"{result.forwards:.1f} forwards and {1000 * result.seconds:.1f} ms an image"
    return (*measured(result), cost)


def measured(result: Result) -> list[str]:
    """The values of a result with their extractors, as text."""
    trial = result.trial
    images = f"{trial.count:,} images of seeds {trial.seed} to {trial.seed + trial.count - 1}"
    return [f"{v.metric} {number(v)}, extractor {v.extractor}, {images}" for v in result.values]

"""Run the trials of a recipe, then the best trial of each method again with other seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from demask.evaluation.metrics import METRICS
from demask.files import write_text
from demask.preset_file import PresetFile
from demask.sweeps.recipe import Final, SweepRecipe, Trial
from demask.sweeps.result import Result, result_from
from demask.sweeps.runner import SweepRunner
from demask.sweeps.table import table

RESULTS, TABLE = "results.json", "table.md"
LEAST = 1e-9  # replaces a distance of 0, which has no logarithm


@dataclass(frozen=True)
class Progress:
    """Progress callbacks of a sweep; no-ops by default."""

    start: Callable[[Trial, int, int], None] = lambda trial, number, rows: None
    images: Callable[[int], None] = lambda done: None
    end: Callable[[Result], None] = lambda result: None


def sweep(
    runner: SweepRunner, recipe: SweepRecipe, presets: PresetFile, progress: Progress | None = None
) -> list[Result]:
    """Run the missing trials; write the table and all results after each.

    Args:
        runner: runs the trials; stored results are not measured again.
        recipe: the recipe.
        presets: presets that the recipe can name.
        progress: progress callbacks.

    Raises:
        ValueError: the model does not support some settings, which is checked before any image is
            generated; or there are too few images for a metric.
    """
    rows = recipe.rows(presets)
    for trial in rows:
        runner.path(trial)
    results = run(runner, rows, [], progress or Progress())
    if recipe.final is not None:
        finals = final_rows(results, recipe.final)
        results = run(runner, finals, results, progress or Progress())
    return results


def run(
    runner: SweepRunner, rows: Sequence[Trial], before: list[Result], progress: Progress
) -> list[Result]:
    """The results so far, and those of more trials."""
    results = list(before)
    for number, trial in enumerate(rows, start=1):
        progress.start(trial, number, len(rows))
        results.append(runner.measured(trial, progress.images))
        progress.end(results[-1])
        write_results(runner.folder, results)
    return results


def final_rows(results: Iterable[Result], final: Final) -> list[Trial]:
    """The trials of the final table: the best point of each method."""
    methods: dict[str, list[Result]] = {}
    for result in results:
        if result.trial.takes_part:
            methods.setdefault(result.trial.method, []).append(result)
    return [
        replace(best_point(found, final.by).trial, count=final.count, seed=seed, final=True)
        for found in methods.values()
        for seed in final.seeds
    ]


def best_point(results: Sequence[Result], metric: str) -> Result:
    """The first result of the point with the lowest mean loss over its seeds."""
    points: dict[Hashable, list[Result]] = {}
    for result in results:
        trial = result.trial
        points.setdefault((trial.settings, trial.aux, trial.dtype), []).append(result)
    return min(points.values(), key=lambda point: fmean(loss(r, metric) for r in point))[0]


def loss(result: Result, metric: str) -> float:
    """The loss of a result: the mean over extractors of the metric's logarithm, or of its negative.

    The logarithm gives all extractors the same weight, whatever their scale. A metric that can be
    negative, such as an unbiased distance, is used without it.

    Raises:
        ValueError: the metric was not measured.
    """
    values = [value.value for value in result.values if value.metric == metric]
    if not values:
        raise ValueError(
            f"the metric '{metric}' was not measured; valid: {', '.join(result.metrics)}"
        )
    if METRICS[metric].best == "highest":
        return -fmean(values)
    if METRICS[metric].limits[0] < 0:
        return fmean(values)
    return fmean(math.log(max(value, LEAST)) for value in values)


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Write ``results.json`` and ``table.md``."""
    text = json.dumps([asdict(result) for result in results], ensure_ascii=False)
    write_text(folder / RESULTS, text)
    lines = table(results)
    write_text(folder / TABLE, lines)


def read_results(folder: Path) -> list[Result]:
    """The results that `write_results` wrote.

    Raises:
        ValueError: there is no such file, or it is broken.
    """
    path = folder / RESULTS
    try:
        return [result_from(tables) for tables in json.loads(path.read_text(encoding="utf-8"))]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no results of a sweep") from error

"""The curves of a sweep's plots."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from demask.sweeps.result import Result
from demask.sweeps.sweep import loss

ALONG = ("temperature", "choice_temperature", "guidance_scale", "top_p", "top_k", "steps")
"""Settings along which a curve of quality against diversity runs: the first that varies."""

Number = Callable[["Point"], float]


@dataclass(frozen=True)
class Point:
    """One point of a method's grid, averaged over its seeds.

    Attributes:
        results: the results, one for each seed.
    """

    results: tuple[Result, ...]

    @property
    def method(self) -> str:
        """The method that the point belongs to."""
        return self.results[0].trial.method

    def number(self, name: str) -> float | None:
        """The value of a setting or fact, if that is a number."""
        row = self.results[0].trial
        value = row.facts.get(name, getattr(row.settings, name, None))
        return float(value) if isinstance(value, int | float) else None

    def mean(self, metric: str, extractor: str, part: str = "value") -> float | None:
        """A metric, or the ``low`` or ``high`` end of its interval, over the seeds."""
        found = [result.value(metric, extractor) for result in self.results]
        return fmean(getattr(v, part) for v in found if v) if all(found) else None

    def loss(self, metric: str) -> float:
        """The mean over seeds of `demask.sweeps.sweep.loss`; lower is better."""
        return fmean(loss(result, metric) for result in self.results)

    @property
    def seconds(self) -> float:
        """Mean wall-clock time per image."""
        return fmean(result.seconds for result in self.results)

    @property
    def cpu_seconds(self) -> float:
        """Mean processor time per image, which hardly depends on other processes."""
        return fmean(result.cpu_seconds for result in self.results)

    @property
    def forwards(self) -> float:
        """Mean number of forward passes per image."""
        return fmean(result.forwards for result in self.results)


@dataclass(frozen=True)
class Curve:
    """A curve of a plot.

    Attributes:
        label: the method.
        points: the points, in order.
        notes: the annotation of each point; "" = none.
    """

    label: str
    points: tuple[Point, ...]
    notes: tuple[str, ...]


def points_of(results: Iterable[Result]) -> list[Point]:
    """The points of a grid."""
    groups: dict[Hashable, list[Result]] = {}
    for result in results:
        row = result.trial
        facts = tuple(sorted(row.facts.items()))
        key = (row.method, row.settings, row.aux, row.dtype, facts, row.count)
        groups.setdefault(key, []).append(result)
    return [Point(tuple(group)) for group in groups.values()]


def methods(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points of each method."""
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.method, []).append(point)
    return lines


def varied(points: Sequence[Point]) -> list[str]:
    """The settings and facts of which a method has several values, in the order of the recipe."""
    names = dict.fromkeys(
        name for p in points for name in (*p.results[0].trial.varied, *p.results[0].trial.facts)
    )
    return [
        name
        for name in names
        if any(len(values(line, name)) > 1 for line in methods(points).values())
    ]


def values(points: Iterable[Point], name: str) -> list[float]:
    """The values of a setting or fact among points, in ascending order."""
    found = {number for point in points if (number := point.number(name)) is not None}
    return sorted(found)


def best_at(points: Sequence[Point], name: str, metric: str) -> list[Point]:
    """For each value of a setting or fact, the point with the lowest loss."""
    return [
        min((p for p in points if p.number(name) == value), key=lambda p: p.loss(metric))
        for value in values(points, name)
    ]


def trade_off(points: Sequence[Point], metric: str) -> list[Curve]:
    """A curve for each method, along the first of `ALONG` that it varies."""
    curves = []
    for method, line in methods(points).items():
        along = next((name for name in ALONG if len(values(line, name)) > 1), None)
        chosen = line if along is None else best_at(line, along, metric)
        notes = ["" if along is None else f"{p.number(along):g}" for p in chosen]
        label = method if along is None else f"{method}, by {along.replace('_', ' ')}"
        curves.append(Curve(label, tuple(chosen), tuple(notes)))
    return curves


def against(points: Sequence[Point], name: str, metric: str) -> list[Curve]:
    """A curve for each method that varies a setting or fact, with the best values of the others."""
    return [
        Curve(method, tuple(chosen), ("",) * len(chosen))
        for method, line in methods(points).items()
        if len(chosen := best_at(line, name, metric)) > 1
    ]


def against_cost(points: Sequence[Point], metric: str) -> list[Curve]:
    """A curve for each method along its number of steps, with the best values of the others."""
    curves = []
    for method, line in methods(points).items():
        chosen = best_at(line, "steps", metric)
        notes = tuple(f"{point.results[0].trial.settings.steps} steps" for point in chosen)
        curves.append(Curve(method, tuple(chosen), notes))
    return curves


def first_of(names: Iterable[str], results: Sequence[Result]) -> Any:
    """The first of some metrics that was measured; None if none was."""
    measured = {metric for result in results for metric in result.metrics}
    return next((name for name in names if name in measured), None)

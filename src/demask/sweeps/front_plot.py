"""Plot quality against time: all points, and a line through the Pareto front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from demask.sweeps.curves import Point, methods
from demask.sweeps.front import Front, ParetoStatus
from demask.sweeps.plot import describe, finish, panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_front(front: Front, path: Path) -> None:
    """Write the plot as PNG: a panel for each extractor, with a logarithmic time axis."""
    from matplotlib.ticker import FuncFormatter

    extractors = list(
        dict.fromkeys(e for p in front.points for r in p.results for e in r.extractors)
    )
    plain = FuncFormatter(lambda number, _place: f"{number:g}")
    figure, grid = panels(1, len(extractors), wide=1.5, high=1.4)
    for axes, extractor in zip(grid[0], extractors, strict=True):
        for number, points in enumerate(methods(front.points).values()):
            scatter(axes, front, points, number, extractor)
        connect(axes, front, extractor)
        unit = "milliseconds" if front.clock else "CPU milliseconds"
        describe(axes, f"{unit} an image", front.metric, extractor)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter(plain)
        axes.tick_params(axis="x", which="minor", labelsize=7)
    head = "Quality against time; circled: the Pareto front"
    save(finish(figure, grid, front.points, head), path)


def scatter(axes: Axes, front: Front, points: list[Point], number: int, extractor: str) -> None:
    """The points of a method, labelled with their steps."""
    found = [(p, v) for p in points if (v := p.mean(front.metric, extractor)) is not None]
    if not found:
        return
    low = [v - (p.mean(front.metric, extractor, "low") or v) for p, v in found]
    high = [(p.mean(front.metric, extractor, "high") or v) - v for p, v in found]
    axes.errorbar(
        [1000 * front.cost(point) for point, _ in found],
        [value for _, value in found],
        yerr=[[max(0.0, n) for n in low], [max(0.0, n) for n in high]],
        label=points[0].method,
        color=f"C{number % 10}",
        marker="osD^vPX*"[number // 10 % 8],
        linestyle="none",
        markersize=5,
        elinewidth=0.5,
        alpha=0.8,
    )
    for point, value in found:
        at = 1000 * front.cost(point), value
        steps = str(point.results[0].trial.settings.steps)
        axes.annotate(steps, at, (4, 3), textcoords="offset points", fontsize=7)


def connect(axes: Axes, front: Front, extractor: str) -> None:
    """The line through the Pareto front."""
    on_it = [p for p in front.points if front.status(p) is ParetoStatus.FRONT]
    at = [(1000 * front.cost(p), v) for p in on_it if (v := p.mean(front.metric, extractor))]
    across, up = [x for x, _ in at], [y for _, y in at]
    axes.plot(across, up, color="0.25", linewidth=1, zorder=1)
    axes.plot(across, up, "o", markersize=10, markerfacecolor="none", color="0.25")

"""Plots of a sweep: quality against diversity, each varied number, and cost.

matplotlib is imported here only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demask.evaluation.metrics import METRICS
from demask.files import write_atomically
from demask.sweeps.curves import (
    Curve,
    Point,
    against,
    against_cost,
    first_of,
    points_of,
    trade_off,
    varied,
)
from demask.sweeps.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUALITY = ("frechet", "kid", "precision", "scenes")
DIVERSITY = {"recall": "recall (diversity)", "scenes_colour": "colour distance (0: all diversity)"}
BESIDE = ("precision", "scenes_unseen")
"""Metrics that are drawn against diversity, besides the quality."""

NAMES = {
    "guidance_scale": "guidance scale",
    "temperature": "softmax temperature",
    "choice_temperature": "choice temperature",
}
PANEL = (5.2, 3.9)  # inches
DPI = 110
MOST_NOTES = 40

X = Callable[[Point], float | None]


def draw_all(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write the plots of a sweep as PNG files.

    Args:
        results: the results of a sweep; its final trials have plots of their own.
        folder: the folder of the plots.
    """
    paths = []
    for start, final in (("", False), ("final_", True)):
        chosen = [result for result in results if result.trial.final is final]
        for name, figure in figures(chosen):
            paths.append(folder / f"{start}{name}.png")
            save(figure, paths[-1])
    return paths


def figures(results: Sequence[Result]) -> list[tuple[str, Figure]]:
    """The plots of results of the same measurement, with their names."""
    quality = first_of(QUALITY, results)
    if quality is None:
        return []
    points, found = points_of(results), []
    extractors = list(dict.fromkeys(e for result in results for e in result.extractors))
    if diversity := first_of(DIVERSITY, results):
        drawn = quality_diversity(points, extractors, quality, diversity)
        found.append(("quality_diversity", drawn))
    wanted = dict.fromkeys((*QUALITY, *BESIDE, *DIVERSITY))
    metrics = [m for m in wanted if first_of([m], results)]
    found += [
        (f"by_{name}", by_number(points, extractors, metrics, name, quality))
        for name in varied(points)
    ]
    if len({p.results[0].trial.settings.steps for p in points}) > 1 or len(points) > 1:
        found.append(("cost", by_cost(points, extractors, quality)))
    return found


def quality_diversity(
    points: Sequence[Point], extractors: Sequence[str], quality: str, diversity: str
) -> Figure:
    """Quality, and the measured metrics of `BESIDE`, against diversity."""
    columns = [m for m in dict.fromkeys((quality, *BESIDE)) if has(points, m)]
    figure, grid = panels(len(extractors), len(columns))
    for row, extractor in zip(grid, extractors, strict=True):
        for axes, metric in zip(row, columns, strict=True):
            across = partial(Point.mean, metric=diversity, extractor=extractor)
            for number, curve in enumerate(trade_off(points, quality)):
                line(axes, curve, number, across, metric, extractor)
            describe(axes, DIVERSITY[diversity], metric, extractor)
    return finish(figure, grid, points, "Quality against diversity")


def by_number(
    points: Sequence[Point],
    extractors: Sequence[str],
    metrics: Sequence[str],
    name: str,
    quality: str,
) -> Figure:
    """Every metric against one setting or fact."""
    figure, grid = panels(len(extractors), len(metrics))
    for row, extractor in zip(grid, extractors, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            for number, curve in enumerate(against(points, name, quality)):
                line(axes, curve, number, lambda p: p.number(name), metric, extractor)
            describe(axes, title(name), metric, extractor)
    head = f"By {title(name)}, with the best values of the other settings"
    return finish(figure, grid, points, head)


def by_cost(points: Sequence[Point], extractors: Sequence[str], quality: str) -> Figure:
    """Quality against wall-clock time, processor time and forward passes."""
    axis: list[tuple[str, X]] = [
        ("milliseconds an image", lambda p: 1000 * p.seconds),
        ("CPU milliseconds an image", lambda p: 1000 * p.cpu_seconds),
        ("forwards an image", lambda p: p.forwards),
    ]
    if any(r.facts.get("device", "cpu") != "cpu" for p in points for r in p.results):
        del axis[1]
    figure, grid = panels(len(extractors), len(axis))
    for row, extractor in zip(grid, extractors, strict=True):
        for axes, (name, x) in zip(row, axis, strict=True):
            for number, curve in enumerate(against_cost(points, quality)):
                line(axes, curve, number, x, quality, extractor)
            describe(axes, name, quality, extractor)
    return finish(figure, grid, points, "Quality against cost")


def has(points: Sequence[Point], metric: str) -> bool:
    """Whether a metric was measured."""
    return any(metric in result.metrics for point in points for result in point.results)


def panels(
    rows: int, columns: int, *, wide: float = 1.0, high: float = 1.0
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of panels, each ``wide`` and ``high`` times the size `PANEL`, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (wide * PANEL[0] * columns, high * PANEL[1] * rows + 0.8)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in grid]


def line(axes: Axes, curve: Curve, number: int, x: X, metric: str, extractor: str) -> None:
    """Draw a curve: its points, their intervals and their labels."""
    rows = [
        (
            at,
            value,
            point.mean(metric, extractor, "low"),
            point.mean(metric, extractor, "high"),
            note,
        )
        for point, note in zip(curve.points, curve.notes, strict=True)
        if (at := x(point)) is not None and (value := point.mean(metric, extractor)) is not None
    ]
    if not rows:
        return
    across, up = [row[0] for row in rows], [row[1] for row in rows]
    down = [0.0 if low is None else max(0.0, value - low) for _, value, low, _, _ in rows]
    over = [0.0 if high is None else max(0.0, high - value) for _, value, _, high, _ in rows]
    marker = "osD^vPX*"[number % 8]
    axes.errorbar(
        across,
        up,
        yerr=[down, over],
        label=curve.label,
        color=f"C{number % 10}",
        marker=marker,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
    )
    if len(rows) <= MOST_NOTES:
        for at, value, _, _, note in rows:
            axes.annotate(note, (at, value), (4, 4), textcoords="offset points", fontsize=7)


def describe(axes: Axes, across: str, metric: str, extractor: str) -> None:
    """Label the axes of a panel, with the name of the extractor."""
    better = {"lowest": "lower is better", "highest": "higher is better"}[METRICS[metric].best]
    inception = extractor.partition(":")[0] == "inception"
    name = METRICS[metric].inception if inception else METRICS[metric].title
    axes.set_xlabel(across)
    axes.set_ylabel(f"{name} ({better})")
    axes.set_title(f"extractor {extractor}", fontsize=9)
    axes.grid(alpha=0.25)
    axes.margins(0.12)


def finish(figure: Figure, grid: list[list[Axes]], points: Sequence[Point], head: str) -> Figure:
    """Add a legend below all panels, with the number of images per point."""
    handles: dict[str, Any] = {}
    for row in grid:
        for axes in row:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
    counts = sorted({result.trial.count for point in points for result in point.results})
    seeds = max(len(point.results) for point in points)
    often = f", mean of up to {seeds} sets of seeds" if seeds > 1 else ""
    each = " or ".join(f"{count:,}" for count in counts)
    ranges = any(v.low < v.high for p in points for r in p.results for v in r.values)
    bars = "; bars: 95 % intervals" if ranges else ""
    figure.suptitle(f"{head}\n{each} images a point{often}{bars}", fontsize=10)
    if handles:
        columns = min(4, len(handles))
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
        )
    return figure


def title(name: str) -> str:
    """The title of an axis."""
    return NAMES.get(name, name.replace("_", " "))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))

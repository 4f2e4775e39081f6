"""The Pareto front of a sweep: points for which no other is both faster and better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from demask.evaluation.metrics import METRICS
from demask.preset_file import Preset
from demask.sweeps.curves import Point
from demask.sweeps.table import number, setting, varying
from demask.sweeps.tune import measured


class ParetoStatus(StrEnum):
    """The position of a point relative to the front."""

    FRONT = "front"
    NEAR = "near"
    BEATEN = ""


@dataclass(frozen=True)
class Front:
    """The points of a sweep, with the Pareto status of each.

    A point is on the *front* if no other point costs less and is at least as good, by the mean
    over extractors. It is *near* if there are such points, but the interval of each overlaps with
    its own under some extractor, so that it could be on the front with other seeds. All others are
    *beaten*.

    Attributes:
        points: the points, fastest first.
        metric: the metric of quality.
        clock: whether cost is wall-clock time instead of processor time.
    """

    points: tuple[Point, ...]
    metric: str
    clock: bool = False

    @classmethod
    def of(cls, points: Sequence[Point], metric: str) -> Front:
        """The front by processor time, or by wall-clock time if a result is of a GPU."""
        on_gpu = any(r.facts.get("device", "cpu") != "cpu" for p in points for r in p.results)
        front = cls(tuple(points), metric, on_gpu)
        return cls(tuple(sorted(points, key=front.cost)), metric, on_gpu)

    def cost(self, point: Point) -> float:
        """Seconds per image."""
        return point.seconds if self.clock else point.cpu_seconds

    def status(self, point: Point) -> ParetoStatus:
        """The Pareto status of a point."""
        rivals = [
            other
            for other in self.points
            if self.cost(other) < self.cost(point)
            and other.loss(self.metric) <= point.loss(self.metric)
        ]
        if not rivals:
            return ParetoStatus.FRONT
        alike = all(self.overlap(point, rival) for rival in rivals)
        return ParetoStatus.NEAR if alike else ParetoStatus.BEATEN

    def overlap(self, one: Point, other: Point) -> bool:
        """Whether the intervals of two points overlap under any extractor."""
        for extractor in one.results[0].extractors:
            low = [p.mean(self.metric, extractor, "low") for p in (one, other)]
            high = [p.mean(self.metric, extractor, "high") for p in (one, other)]
            if None not in (*low, *high) and max(filter(None, low), default=0.0) <= min(
                h for h in high if h is not None
            ):
                return True
        return False

    def chosen(self, label: str) -> Point:
        """The point of a label, to be saved.

        Raises:
            ValueError: no such point, or one that is not on the front.
        """
        by_label = {point.results[0].trial.label: point for point in self.points}
        valid = [n for n, p in by_label.items() if self.status(p) is ParetoStatus.FRONT]
        if label not in valid:
            known = "is not on the front" if label in by_label else "is no point of the sweep"
            raise ValueError(f"'{label}' {known}; the front consists of: {'; '.join(valid)}")
        return by_label[label]

    def to_preset(self, label: str) -> Preset:
        """A point of the front, to be saved under a name."""
        point = self.chosen(label)
        result, unit = point.results[0], "ms" if self.clock else "ms of processor time"
        cost = f"{point.forwards:.1f} forwards and {1000 * self.cost(point):.1f} {unit} an image"
        dtype = None if result.trial.dtype == "float32" else result.trial.dtype
        return Preset(result.trial.settings, (*measured(result), cost), dtype)


def front_table(front: Front) -> str:
    """All points as a Markdown table, fastest first."""
    results = [point.results[0] for point in front.points]
    names = [name for name in varying(results) if name != "steps"]
    extractors = list(dict.fromkeys(e for r in results for e in r.extractors))
    unit = "ms" if front.clock else "CPU ms"
    head = ["", "method", "steps", "dtype", *(name.replace("_", " ") for name in names)]
    words, head = len(head), [*head, "forwards", unit, "images"]
    head += [f"{METRICS[front.metric].title}, {extractor}" for extractor in extractors]
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words)]
    for point, result in zip(front.points, results, strict=True):
        trial = result.trial
        cells = [
            front.status(point).value,
            trial.method,
            str(trial.settings.steps),
            trial.dtype or "",
        ]
        cells += [setting(trial.settings, name) for name in names]
        cells += [f"{point.forwards:.1f}", f"{1000 * front.cost(point):.1f}", f"{trial.count:,}"]
        cells += [number(result.value(front.metric, extractor)) for extractor in extractors]
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

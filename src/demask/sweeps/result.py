"""The result of a trial, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demask.files import write_text
from demask.old_names import current_result, current_settings
from demask.settings import Settings
from demask.sweeps.recipe import Trial


@dataclass(frozen=True)
class Value:
    """One metric under one extractor.

    Attributes:
        metric: the name of the metric.
        extractor: the name of the extractor.
        value: the value.
        low: lower end of its 95 % interval; equal to the value if there is none.
        high: upper end of the interval.
    """

    metric: str
    extractor: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """A trial and its result.

    Attributes:
        trial: the trial.
        values: the value of each metric and extractor.
        forwards: forward passes per image.
        seconds: wall-clock time per image, without measuring.
        cpu_seconds: processor time per image.
        facts: fingerprints, commit, command, date.
    """

    trial: Trial
    values: tuple[Value, ...]
    forwards: float
    seconds: float
    cpu_seconds: float
    facts: Mapping[str, Any]

    def value(self, metric: str, extractor: str) -> Value | None:
        """The value of a metric and an extractor; None if it was not measured."""
        found = [v for v in self.values if (v.metric, v.extractor) == (metric, extractor)]
        return found[0] if found else None

    @property
    def extractors(self) -> list[str]:
        """The names of the extractors, in order."""
        return list(dict.fromkeys(value.extractor for value in self.values))

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, in order."""
        return list(dict.fromkeys(value.metric for value in self.values))


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON, atomically."""
    text = json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n"
    write_text(path, text)


def read_rows(folder: Path) -> list[Result]:
    """All results in a folder, whichever command wrote them.

    Raises:
        ValueError: there are none, one is broken, or they are of several numbers of images.
    """
    results = [read_result(path) for path in sorted((folder / "rows").glob("*.json"))]
    if not results:
        raise ValueError(f"{folder / 'rows'} holds no results")
    counts = sorted({result.trial.count for result in results})
    if len(counts) > 1:
        raise ValueError(
            f"{folder} holds rows of {', '.join(map(str, counts))} images, which cannot be "
            "compared; choose another folder"
        )
    return results


def read_result(path: Path, trial: Trial | None = None) -> Result:
    """Read a result.

    Args:
        path: the JSON file.
        trial: replaces the stored trial, whose names may be of an older recipe.

    Raises:
        ValueError: the file holds no result.
    """
    try:
        return result_from(json.loads(path.read_text(encoding="utf-8")), trial)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no result; delete it to measure again") from error


def result_from(tables: dict[str, Any], trial: Trial | None = None) -> Result:
    """A result from its JSON object; older names of settings are translated."""
    tables = current_result(tables)
    written = current_result(tables["trial"])
    settings = current_settings(written["settings"])
    lists = {n: tuple(settings.get(n, ())) for n in ("corrections", "accelerators")}
    stored = Trial(
        **{
            **written,
            **{name: tuple(written[name]) for name in ("aux", "varied")},
            "settings": Settings(**{**settings, **lists}),
        }
    )
    values = tuple(Value(**value) for value in tables["values"])
    return Result(**{**tables, "trial": trial or stored, "values": values})

"""Results as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from demask.settings import Settings
from demask.sweeps.result import Result, Value


def table(results: Sequence[Result]) -> str:
    """The final results, then all others, with the facts of the measurement."""
    parts = []
    for title, final in (("Final", True), ("Search", False)):
        chosen = [result for result in results if result.trial.final is final]
        if chosen:
            parts.append(f"## {title}\n\n{rows_of(chosen)}")
    commands = dict.fromkeys(str(result.facts.get("command", "")) for result in results)
    made = "\n".join(f"    {command}" for command in commands if command)
    return "\n".join([*parts, f"Made by\n\n{made}\n"]) if made else "\n".join(parts)


def rows_of(results: Sequence[Result]) -> str:
    """The table of these results, with a column for each metric and extractor."""
    columns = list(dict.fromkeys((v.extractor, v.metric) for r in results for v in r.values))
    names, dtypes = varying(results), len({result.trial.dtype for result in results}) > 1
    head = ["method", *(name.replace("_", " ") for name in names), *(["dtype"] if dtypes else [])]
    head += ["images", "first seed", "forwards", "ms", "CPU ms"]
    head += [f"{metric}, {extractor}" for extractor, metric in columns]
    words = len(names) + 1 + dtypes
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words)]
    for result in results:
        row = result.trial
        cells = [row.method, *(setting(row.settings, name) for name in names)]
        cells += [row.dtype or ""] if dtypes else []
        cells += [f"{row.count:,}", str(row.seed), f"{result.forwards:.1f}"]
        cells += [f"{1000 * result.seconds:.1f}", f"{1000 * result.cpu_seconds:.1f}"]
        cells += [number(result.value(metric, extractor)) for extractor, metric in columns]
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def varying(results: Sequence[Result]) -> list[str]:
    """The settings that differ between results, and always the steps."""
    names = [field.name for field in fields(Settings)]
    return [
        name
        for name in names
        if name == "steps" or len({getattr(r.trial.settings, name) for r in results}) > 1
    ]


def setting(settings: Settings, name: str) -> str:
    """A setting's value in a cell."""
    value = getattr(settings, name)
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def number(value: Value | None) -> str:
    """A value with its interval; the number of decimals depends on the size of the value."""
    if value is None:
        return ""
    size = abs(value.value)
    digits = 1 if size >= 100 else 2 if size >= 1 else 3 if size >= 0.1 else 5
    text = f"{value.value:.{digits}f}"
    if value.low == value.high:
        return text
    return f"{text} ({value.low:.{digits}f} to {value.high:.{digits}f})"

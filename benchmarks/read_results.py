"""Read result files, in the form of `result_file` or as a command of ``demask`` writes them.

What ``demask sweep``, ``bench --front`` and ``compare`` write as results.json, and ``evaluate``
to ``--out``, contains all that is needed. This program writes a short result file from it:

    python benchmarks/read_results.py runs/sweeps/cifar10_methods/results.json \
        results/cifar10_methods.json [--title "..."]

The default title is that of the file that is replaced.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_file import (
    SCHEMA,
    UNKNOWN,
    ResultFile,
    Row,
    Setting,
    Value,
    without_folder,
    write_result_file,
)

from demask.old_names import current_result

MACHINE = ("device", "threads")
"""What the commands write down of the machine."""


def read_results(path: Path, title: str = "") -> ResultFile:
    """Read a result file of any of the forms.

    Args:
        path: the JSON file.
        title: of a file that has none; its name by default.

    Raises:
        ValueError: the file is missing, broken, or lacks its command, commit, date or seed.
    """
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        return result_from(tables, title or path.stem)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise ValueError(f"{path}: no {error}, so it is no result file") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is no result file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def result_from(tables: Any, title: str) -> ResultFile:
    """The result of the tables of a JSON file."""
    if isinstance(tables, list):
        return from_sweep(tables, title)
    if "outcomes" in tables:
        return from_comparison(tables, title)
    if "scores" in tables:
        return from_evaluation(tables, title)
    if tables["schema"] != SCHEMA:
        raise ValueError(f"a result file of schema {tables['schema']}; valid: {SCHEMA}")
    named = {name: entry for name, entry in tables.items() if name not in ("schema", "rows")}
    return ResultFile(**named, rows=tuple(row_from(row) for row in tables["rows"]))


def row_from(table: Mapping[str, Any]) -> Row:
    """One row of the form of `result_file`."""
    values = {name: Value(**entry) for name, entry in table["values"].items()}
    return Row(**{**table, "values": values})


def from_sweep(results: Sequence[Mapping[str, Any]], title: str) -> ResultFile:
    """The rows of ``demask sweep`` or ``demask bench --front``, of one commit or of several."""
    results = [current_result(result) for result in results]
    apart = [n for n in ("count", "seed") if len({result["trial"][n] for result in results}) > 1]
    rows = [sweep_row(result, apart) for result in results]
    facts = [result["facts"] for result in results]
    seeds = dict.fromkeys(seeds_of(r["trial"]["seed"], r["trial"]["count"]) for r in results)
    latest = max(facts, key=lambda fact: str(fact["date"]))
    return ResultFile(
        title,
        tuple(rows),
        plain_command(latest["command"]),
        latest["commit"] or UNKNOWN,
        latest["date"][:10],
        ", ".join(seeds),
        {name: latest[name] for name in MACHINE if name in latest},
    )


def sweep_row(result: Mapping[str, Any], apart: Sequence[str]) -> Row:
    """One row of a sweep: its settings, every metric under every extractor, and its cost.

    Args:
        result: the result as the command wrote it.
        apart: ``count`` and ``seed``, if rows may differ only in these.
    """
    row = result["trial"]
    varied = [f"{name} {setting(row['settings'][name])}" for name in row["varied"]]
    dtype = [row["dtype"]] if row["dtype"] else []
    more = [f"{name} {row[name]}" for name in apart]
    settings: dict[str, Any] = {"method": row["method"], **row["settings"], **row["facts"]}
    settings |= {"images": row["count"], "first seed": row["seed"], "dtype": row["dtype"]}
    return Row(
        ", ".join([row["method"], *varied, *dtype, *more]),
        {
            **{f"{v['metric']} {v['extractor']}": bounded(v) for v in result["values"]},
            "forwards": Value(result["forwards"]),
            "milliseconds": Value(1000 * result["seconds"], unit="ms"),
            "CPU milliseconds": Value(1000 * result["cpu_seconds"], unit="ms"),
        },
        {name: text for name, value in settings.items() if (text := setting(value)) != ""},
        result["facts"]["commit"] or UNKNOWN,
    )


def setting(value: Any) -> Setting:
    """A setting as a number or as words; "" for one that is not set."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return "" if value is None else value if isinstance(value, int | float) else str(value)


def bounded(value: Mapping[str, Any]) -> Value:
    """A metric with its interval; two equal ends are none."""
    low, high = value["low"], value["high"]
    return Value(value["value"]) if low == high else Value(value["value"], low, high)


def from_comparison(tables: Mapping[str, Any], title: str) -> ResultFile:
    """The win rates of ``demask compare``; with several scorers each has rows of its own."""
    several = len(tables["scorers"]) > 1
    rows = []
    for outcome in tables["outcomes"]:
        paired = outcome["paired"]
        values = {
            "mean score": Value(outcome["mean"]),
            "forwards": Value(outcome["forwards"]),
            "milliseconds": Value(1000 * outcome["seconds"], unit="ms"),
        }
        if paired is not None:
            ends = paired["rate"], paired["rate_low"], paired["rate_high"]
            values["win rate"] = Value(*ends)
        name = f"{outcome['variant']}, {outcome['scorer']}" if several else outcome["variant"]
        settings = {"variant": outcome["variant"], "scorer": outcome["scorer"]}
        rows.append(Row(name, values, {**settings, "base": tables["base"]}))
    return ResultFile(
        title,
        tuple(rows),
        plain_command(tables["command"]),
        tables["commit"] or UNKNOWN,
        tables["date"][:10],
        seeds_of(tables["first_seed"], tables["seeds"] * len(tables["prompts"])),
        {name: tables[name] for name in MACHINE},
    )


def from_evaluation(tables: Mapping[str, Any], title: str) -> ResultFile:
    """The scores of ``demask evaluate --out``, as one row."""
    values = {f"{s['metric']} {s['extractor']}": bounded(s) for s in tables["scores"]}
    settings = {"images": tables["samples"]["count"], "real images": tables["reference"]["count"]}
    return ResultFile(
        title,
        (Row("all", values, settings),),
        plain_command(tables["command"]),
        tables["commit"] or UNKNOWN,
        tables["date"][:10],
        str(tables["options"]["seed"]),
        {name: tables[name] for name in MACHINE if name in tables},
    )


def seeds_of(first: int, count: int) -> str:
    """A range of seeds in words."""
    return str(first) if count == 1 else f"{first} to {first + count - 1}"


def plain_command(command: str) -> str:
    """A command without the folders of the machine that it ran on."""
    return shlex.join(map(without_folder, shlex.split(command)))


def main() -> int:
    """Write a short result file of what a command wrote."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="results.json of a command of demask")
    parser.add_argument("result", type=Path, help="the result file, such as results/NAME.json")
    parser.add_argument("--title", default="", help="the question that the rows answer")
    chosen = parser.parse_args()
    try:
        title = chosen.title
        if not title and chosen.result.is_file():
            title = read_results(chosen.result).title
        write_result_file(chosen.result, read_results(chosen.source, title or chosen.result.stem))
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

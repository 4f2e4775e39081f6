"""Result files: the numbers of a benchmark, with command, seed, commit, date and machine.

Every figure of docs/numbers.md comes from a file of this form in results/. A benchmark calls
`add_result_option` on its parser and `write_if_asked` at its end; `read_results` reads the files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
"""The version of the form; a file of another version is refused."""

UNKNOWN = "unknown"
"""The commit of a measurement outside of a working copy; docs/numbers.md takes none."""

Number = float | int
Setting = float | int | str


@dataclass(frozen=True)
class Value:
    """A measured number.

    Attributes:
        value: the number; shares lie between 0 and 1.
        low: the lower end of its 95 % interval, or None where no interval was measured.
        high: the upper end of it.
        unit: such as ``s``, ``ms``, ``dB`` or ``nats``; "" for a plain number or a share.
    """

    value: Number
    low: Number | None = None
    high: Number | None = None
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """The numbers of one setting.

    Attributes:
        name: unique in its file.
        values: the measured numbers by name.
        settings: the settings of the measurement.
        commit: of the row, where it differs from the commit of the file.
    """

    name: str
    values: Mapping[str, Value]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    commit: str = ""


@dataclass(frozen=True)
class ResultFile:
    """The rows of one command, and all that is needed to measure them again.

    Attributes:
        title: the question that the rows answer.
        rows: what was measured; all rows come from the same machine.
        command: measures it again. Folders of this machine are left out.
        commit: of the code that measured it.
        date: of the measurement, as in 2026-11-28.
        seed: the seeds, as in "0 to 499"; "none" where nothing is random.
        machine: processor, cores, threads, device and torch, as far as they are known.
        note: further information for the reader.
        source: of published numbers: paper and table. Such a file has no command.
    """

    title: str
    rows: tuple[Row, ...]
    command: str = ""
    commit: str = ""
    date: str = ""
    seed: str = ""
    machine: Mapping[str, Setting] = field(default_factory=dict)
    note: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        needed = ("title",) if self.source else ("title", "command", "commit", "date", "seed")
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"a result file needs {', '.join(missing)}")
        names = [row.name for row in self.rows]
        if not names:
            raise ValueError("a result file needs at least one row")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the row '{twice[0]}' stands twice in a result file")

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            ValueError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        valid = ", ".join(repr(row.name) for row in self.rows)
        raise ValueError(f"no row '{name}'; valid: {valid}")

    @property
    def commits(self) -> list[str]:
        """The commits of the rows, in their order, each once."""
        return list(dict.fromkeys(row.commit or self.commit for row in self.rows))


def write_result_file(path: Path, result: ResultFile) -> None:
    """Write a result file as JSON, all of it or nothing."""
    from demask.files import write_text

    tables = {"schema": SCHEMA, **compact(asdict(result))}
    write_text(path, json.dumps(tables, indent=1, ensure_ascii=False) + "\n")


def compact(table: Any) -> Any:
    """A JSON table without the fields that are empty."""
    if isinstance(table, Mapping):
        kept = {key: compact(entry) for key, entry in table.items()}
        return {key: entry for key, entry in kept.items() if entry not in (None, "", {}, [])}
    return [compact(entry) for entry in table] if isinstance(table, list | tuple) else table


def add_result_option(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option ``--result FILE``."""
    parser.add_argument(
        "--result", type=Path, metavar="FILE", help="write a result file, such as results/NAME.json"
    )


def write_if_asked(
    path: Path | None, title: str, rows: Sequence[Row], seed: str = "0", note: str = ""
) -> None:
    """Write the rows of a benchmark with its command, commit, date and machine.

    Args:
        path: what ``--result`` names; None writes nothing.
        title: the question that the rows answer.
        rows: what was measured.
        seed: see `ResultFile`.
        note: see `ResultFile`.
    """
    if path is None:
        return
    from demask.sweeps.runner import commit

    result = ResultFile(
        title,
        tuple(rows),
        command_line(sys.argv),
        commit() or UNKNOWN,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        seed,
        machine(),
        note,
    )
    write_result_file(path, result)
    print(f"Written to {path}.")


def command_line(arguments: Iterable[str]) -> str:
    """The command that repeats a benchmark, without ``--result`` and the folders of this machine.

    Args:
        arguments: as in ``sys.argv``.
    """
    words = list(arguments)
    words[0] = f"benchmarks/{Path(words[0]).name}"
    if "--result" in words:
        place = words.index("--result")
        del words[place : place + 2]
    words = [word for word in words if not word.startswith("--result=")]
    return shlex.join(["python", *map(without_folder, words)])


def without_folder(word: str) -> str:
    """The name of a file that a word gives by an absolute path; any other word as it is."""
    option, equals, path = word.rpartition("=")
    return f"{option}{equals}{Path(path).name}" if Path(path).is_absolute() else word


def machine() -> dict[str, Setting]:
    """The processor, its cores, and torch and its threads where a benchmark uses them."""
    found: dict[str, Setting] = {"processor": processor(), "cores": os.cpu_count() or 1}
    if torch := sys.modules.get("torch"):
        found |= {"threads": torch.get_num_threads(), "torch": str(torch.__version__)}
        if torch.cuda.is_available():
            found["device"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """The name of the processor, as the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

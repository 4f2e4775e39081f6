"""Plant faults in the code and count how many of them the tests notice.

`make mutants` runs the tests of every row of benchmarks/mutants.toml on a copy of the tracked files
with one piece of text replaced; the working tree stays as it is. A fault is killed if a test fails
or does not end in time. `--check` runs no test: it refuses rows whose text no longer stands exactly
once in its file, so that the table follows the code.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from result_file import Row, Value, add_result_option, write_if_asked

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "mutants.toml"
AREAS = ("sampling", "guidance", "training", "editing", "evaluation", "server")
PRELOADED = ("accelerate", "numpy", "PIL.Image", "pytest", "torch")
"""Libraries that take seconds to import: once, before the forks."""
FORKS = multiprocessing.get_context("forkserver")
OFFSET = 100
"""Added to the exit status of pytest, to tell it from that of a crash."""
FAILED, PASSED = 1, 0
"""How pytest ends where a test failed, and where all passed; anything else is no verdict."""


@dataclass(frozen=True)
class Mutant:
    """A fault: a piece of a file, and what replaces it.

    Attributes:
        area: one of `AREAS`.
        fault: the fault in a few words, unique in the table.
        file: the source file.
        original: a text that stands exactly once in the file.
        replaced: what stands there with the fault.
        tests: files or tests that have to notice it.
    """

    area: str
    fault: str
    file: str
    original: str
    replaced: str
    tests: tuple[str, ...]

    def planted(self, source: str) -> str:
        """The text of the file with the fault."""
        return source.replace(self.original, self.replaced)


def read_table(path: Path) -> list[Mutant]:
    """The rows of a table.

    Raises:
        ValueError: a row has other fields than those of a `Mutant`.
    """
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    try:
        return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def complaints(mutants: Sequence[Mutant], root: Path) -> Iterator[str]:
    """One line for each row that plants no fault in the code as it is."""
    faults = [mutant.fault for mutant in mutants]
    for mutant in mutants:
        if reason := complaint(mutant, root) or ("twice" if faults.count(mutant.fault) > 1 else ""):
            yield f"'{mutant.fault}': {reason}"


def complaint(mutant: Mutant, root: Path) -> str:
    """What is wrong with a row; empty if nothing is."""
    if mutant.area not in AREAS:
        return f"no area '{mutant.area}'; valid: {', '.join(AREAS)}"
    for name in (mutant.file, *mutant.tests):
        path, _, test = name.partition("::")
        if not (root / path).is_file():
            return f"there is no {path}"
        if test and f"def {test}(" not in (root / path).read_text(encoding="utf-8"):
            return f"there is no {test} in {path}"
    source = (root / mutant.file).read_text(encoding="utf-8")
    if (count := source.count(mutant.original)) != 1:
        return f"its text stands {count} times in {mutant.file}, not once"
    try:
        same = ast.dump(ast.parse(source)) == ast.dump(ast.parse(mutant.planted(source)))
    except SyntaxError as error:
        return f"{mutant.file} is no Python with it: {error.msg}"
    if same:
        return "it changes no code"
    return "" if mutant.tests else "no tests are named"


def copy_tree(root: Path, target: Path) -> None:
    """Copy the tracked files as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def run_tests(tree: Path, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """The exit status of pytest in a tree, None after a timeout, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.touch()
        process = FORKS.Process(target=run_pytest, args=(tree, tests, output))
        process.start()
        process.join(seconds)
        in_time = not process.is_alive()
        if not in_time:
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        printed = output.read_text(encoding="utf-8", errors="replace")
    return (process.exitcode or 0) - OFFSET if in_time else None, printed


def run_pytest(tree: Path, tests: Sequence[str], output: Path) -> None:
    """Run the tests in this process, a fork that has imported libraries but none of our code."""
    os.setsid()  # a group of its own, which can be killed with what the tests start
    with output.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    import pytest

    assert "demask" not in sys.modules
    os.chdir(tree)
    sources = str(tree / "src")
    sys.path.insert(0, sources)
    earlier = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([sources, earlier] if earlier else [sources])
    sys.dont_write_bytecode = False
    sys.exit(OFFSET + int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))


def verdict(mutant: Mutant, tree: Path, seconds: float) -> str:
    """The test that killed a mutant in a copy of the tree; empty if it survived.

    Raises:
        RuntimeError: the tests ended without a verdict, as where they cannot be imported.
    """
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    cached = Path(importlib.util.cache_from_source(str(path)))
    cached.unlink(missing_ok=True)  # it may be as old and as long as the fault
    path.write_text(mutant.planted(source), encoding="utf-8")
    try:
        status, output = run_tests(tree, mutant.tests, seconds)
    finally:
        path.write_text(source, encoding="utf-8")
        cached.unlink(missing_ok=True)
    if status is None:
        return f"no end in {seconds:g} s"
    if status not in (FAILED, PASSED):
        raise RuntimeError(f"'{mutant.fault}' gave no verdict:\n{output[-2000:]}")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return (found[1] if found else "a failing test") if status == FAILED else ""


def result_rows(killers: dict[Mutant, str]) -> list[Row]:
    """The share killed, of all and by area, and a row for each survivor."""
    rows = []
    for area in ("all", *AREAS):
        here = [killer for mutant, killer in killers.items() if area in ("all", mutant.area)]
        if here:
            killed = sum(map(bool, here))
            values = {"faults": len(here), "killed": killed, "share killed": killed / len(here)}
            rows.append(Row(area, {name: Value(value) for name, value in values.items()}))
    left = [mutant for mutant, killer in killers.items() if not killer]
    return rows + [
        Row(m.fault, {"killed": Value(0)}, {"area": m.area, "file": m.file}) for m in left
    ]


def measure(mutants: Sequence[Mutant], seconds: float) -> dict[Mutant, str]:
    """What killed each mutant; empty for survivors.

    Raises:
        RuntimeError: a test fails without any fault, or a mutant gave no verdict.
    """
    killers = {}
    FORKS.set_forkserver_preload(list(PRELOADED))
    with tempfile.TemporaryDirectory(prefix="demask-mutants-") as folder:
        tree = Path(folder)
        copy_tree(ROOT, tree)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        status, output = run_tests(tree, tests, seconds * len(tests))
        if status != PASSED:
            raise RuntimeError(f"the tests fail without any fault:\n{output[-2000:]}")
        for mutant in mutants:
            killers[mutant] = verdict(mutant, tree, seconds)
            sentence = killers[mutant] or "SURVIVED"
            print(f"{mutant.area:10} {mutant.fault}: {sentence}", flush=True)
    return killers


def parse_arguments() -> Any:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="run no test, check the table")
    parser.add_argument("--area", choices=AREAS, help="the faults of one area")
    parser.add_argument("--fault", default="", help="the faults whose name contains this text")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a fault's tests")
    add_result_option(parser)
    return parser.parse_args()


def main() -> int:
    """Run the faults, or check the table; the exit code says whether it fits the code."""
    chosen = parse_arguments()
    mutants = read_table(TABLE)
    if lines := list(complaints(mutants, ROOT)):
        print("\n".join(f"{TABLE.name}: {line}" for line in lines))
        return 1
    if chosen.check:
        print(f"The {len(mutants)} faults of {TABLE.name} fit the code.")
        return 0
    mutants = [m for m in mutants if chosen.area in (None, m.area) and chosen.fault in m.fault]
    rows = result_rows(measure(mutants, chosen.timeout))
    for row in rows:
        if "faults" in row.values:
            counts = f"{row.values['killed'].value} of {row.values['faults'].value}"
            print(f"{row.name}: {counts} killed ({row.values['share killed'].value:.1%})")
    write_if_asked(chosen.result, "Which planted faults do the tests notice?", rows, seed="none")
    return 0


if __name__ == "__main__":
    sys.exit(main())

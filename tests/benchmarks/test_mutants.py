"""The program that plants faults: which rows it refuses, and what it calls killed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import mutants
import pytest
from mutants import Mutant, complaints, measure, read_table, result_rows, verdict

ADDS = Mutant("sampling", "adds", "one.py", "a - b", "a + b", ("tests/test_one.py",))
SOURCE = "def less(a, b):\n    return a - b\n"
TEST = "from one import less\n\n\ndef test_less():\n    assert less({}, {}) == {}\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one function and one test."""
    tracked = {
        "one.py": SOURCE,
        "tests/test_one.py": TEST.format(5, 3, 2),
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = "."\n',
    }
    for name, text in tracked.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "PRELOADED", ("pytest",))
    return tmp_path


def test_a_fault_is_killed_by_a_test_of_the_right_value(tree: Path) -> None:
    assert measure([ADDS], 60) == {ADDS: "tests/test_one.py::test_less"}
    assert (tree / "one.py").read_text() == SOURCE, "the working tree stays as it is"


def test_a_fault_survives_a_test_that_does_not_see_it(tree: Path) -> None:
    (tree / "tests/test_one.py").write_text(TEST.format(0, 0, 0))
    assert verdict(ADDS, tree, 60) == ""
    assert (tree / "one.py").read_text() == SOURCE


def test_a_fault_without_an_end_is_killed(tree: Path) -> None:
    endless = replace(ADDS, fault="waits", replaced="[0 for _ in iter(int, 1)]")
    assert verdict(endless, tree, 3) == "no end in 3 s"


def test_a_verdict_needs_tests_that_pass_and_run(tree: Path) -> None:
    missing = replace(ADDS, fault="no such name", original="def less", replaced="def more")
    with pytest.raises(RuntimeError, match="'no such name' gave no verdict"):
        verdict(missing, tree, 60)
    (tree / "tests/test_one.py").write_text(TEST.format(5, 3, 0))
    with pytest.raises(RuntimeError, match="the tests fail without any fault"):
        measure([ADDS], 60)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"area": "ui"}, "no area 'ui'; valid: sampling, guidance"),
        ({"file": "two.py"}, "there is no two.py"),
        ({"tests": ("tests/test_two.py::test_it",)}, "there is no tests/test_two.py"),
        ({"tests": ("tests/test_one.py::test_more",)}, "there is no test_more in tests/test_one"),
        ({"tests": ()}, "no tests are named"),
        ({"original": "a * b"}, "its text stands 0 times in one.py, not once"),
        ({"original": "a"}, "its text stands 2 times in one.py, not once"),
        ({"replaced": "a -"}, "one.py is no Python with it: "),
        ({"replaced": "(a - b)"}, "it changes no code"),
    ],
)
def test_rows_that_plant_nothing_are_refused(tree: Path, changes: dict, said: str) -> None:
    (line,) = complaints([replace(ADDS, **changes)], tree)
    assert line.startswith(f"'adds': {said}")


def test_two_faults_of_one_name_are_refused(tree: Path) -> None:
    assert list(complaints([ADDS], tree)) == []
    assert list(complaints([ADDS, ADDS], tree)) == ["'adds': twice"] * 2


def test_the_result_has_a_share_by_area_and_the_survivors() -> None:
    other = replace(ADDS, area="server", fault="other")
    rows = {row.name: row for row in result_rows({ADDS: "a test", other: ""})}
    assert list(rows) == ["all", "sampling", "server", "other"]
    assert [rows[name].values["share killed"].value for name in ("all", "sampling", "server")] == [
        0.5,
        1.0,
        0.0,
    ]


def test_the_table_fits_the_code() -> None:
    assert list(complaints(read_table(mutants.TABLE), Path(__file__).parents[2])) == []

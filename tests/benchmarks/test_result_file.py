"""Result files: written and read again, and what is no result file."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
from read_results import read_results
from result_file import (
    ResultFile,
    Row,
    Value,
    add_result_option,
    command_line,
    write_if_asked,
    write_result_file,
)

ROWS = (
    Row("plain", {"distance": Value(2.5, 2.0, 3.0)}, {"steps": 8}),
    Row("guided", {"distance": Value(0.0), "time": Value(12.5, unit="ms")}, commit="abc1234"),
)
RESULT = ResultFile(
    "Which is better?",
    ROWS,
    "python benchmarks/x.py",
    "def5678",
    "2026-11-28",
    "0 to 9",
    {"cores": 2, "processor": "a processor"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_result_file(tmp_path / "x.json", RESULT)
    assert read_results(tmp_path / "x.json") == RESULT
    assert RESULT.commits == ["def5678", "abc1234"]


@pytest.mark.parametrize("name", ["title", "command", "commit", "date", "seed"])
def test_a_measurement_says_how_to_repeat_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name):
        replace(RESULT, **{name: ""})
    write_result_file(tmp_path / "x.json", RESULT)
    tables = json.loads((tmp_path / "x.json").read_text())
    del tables[name]
    (tmp_path / "x.json").write_text(json.dumps(tables))
    with pytest.raises(ValueError, match=rf"x\.json.*{name}"):
        read_results(tmp_path / "x.json")


def test_published_numbers_have_a_source_instead() -> None:
    published = ResultFile("What does the paper say?", ROWS, source="arXiv 0000.00000, table 1")
    assert published.command == ""


def test_each_row_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="'plain' stands twice"):
        replace(RESULT, rows=(ROWS[0], ROWS[0]))
    with pytest.raises(ValueError, match="no row 'plane'; valid: 'plain', 'guided'"):
        RESULT.row("plane")


@pytest.mark.parametrize("text", ["", "{", "3", "{}", '{"schema": 2, "rows": []}', "[{}]", "[]"])
def test_what_is_no_result_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json"):
        read_results(tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"y\.json: No such file"):
        read_results(tmp_path / "y.json")


def test_a_command_has_no_folders_of_the_machine() -> None:
    words = ["/home/me/benchmarks/x.py", "--result", "/tmp/out.json", "--data=/data/train.parquet"]
    assert command_line([*words, "--count", "5"]) == (
        "python benchmarks/x.py --data=train.parquet --count 5"
    )
    assert command_line(["x.py", "--result=out.json", "runs/a"]) == (
        "python benchmarks/x.py runs/a"
    )


def test_a_benchmark_writes_its_rows_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    add_result_option(parser)
    words = ["--result", str(tmp_path / "results" / "x.json")]
    monkeypatch.setattr("sys.argv", ["benchmarks/x.py", *words, "--fast"])
    write_if_asked(parser.parse_args([]).result, "Which?", ROWS)
    assert not list(tmp_path.iterdir())
    write_if_asked(parser.parse_args(words).result, "Which?", ROWS, seed="3")
    written = read_results(tmp_path / "results" / "x.json")
    assert written.rows == ROWS
    assert written.command == "python benchmarks/x.py --fast"
    assert written.seed == "3"
    assert {"processor", "cores", "threads", "torch"} <= written.machine.keys()

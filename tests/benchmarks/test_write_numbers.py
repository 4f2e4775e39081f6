"""docs/numbers.md: every figure comes from a result file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import write_numbers
from result_file import UNKNOWN, ResultFile, Row, Value, write_result_file
from write_numbers import Results, render, typed_figures

RESULT = ResultFile(
    "Which is better?",
    (
        Row("float32", {"error": Value(0.25, 0.2, 0.3), "time": Value(30.0, unit="ms")}),
        Row("bfloat16", {"time": Value(12.5, unit="ms"), "share": Value(0.5)}, {"steps": 8}),
    ),
    "python benchmarks/x.py",
    "def5678",
    "2026-11-28",
    "0 to 9",
    {"cores": 2},
)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_result_file(tmp_path / "speed.json", RESULT)
    return Results(tmp_path)


def test_the_page_is_what_its_result_files_say() -> None:
    assert write_numbers.PAGE.read_text(encoding="utf-8") == write_numbers.page()


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        ("speed | float32 | time", "30 ms"),
        ("speed | float32 | time | .1f", "30.0 ms"),
        ("speed | float32 | error | .2f | interval", "0.25 (0.20 to 0.30)"),
        ("speed | bfloat16 | share | .0%", "50 %"),
        ("speed | bfloat16 | time | .1f | interval", "12.5 ms"),
        ("speed | bfloat16 | steps", "8"),
        ("ratio | speed | float32 | bfloat16 | time | .1f", "2.4"),
    ],
)
def test_a_placeholder_is_a_figure_of_a_file(results: Results, placeholder: str, text: str) -> None:
    assert render(f"It takes {{{{{placeholder}}}}}.", results).startswith(f"It takes {text}.\n")


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("speeed | float32 | time", "no result file 'speeed'.*valid: speed"),
        ("speed | float64 | time", "no row 'float64'; valid: 'float32', 'bfloat16'"),
        ("speed | float32 | tme", "has no 'tme'; valid: name, error, time"),
        ("speed | float32 | time | .1z", "'.1z' is no format"),
        ("speed | float32", "a placeholder is"),
        ("ratio | speed | bfloat16 | float32 | steps | .1f", "no number 'steps'"),
    ],
)
def test_a_placeholder_without_its_number_is_an_error(
    results: Results, placeholder: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^line 2 of the template: .*{message}"):
        render(f"\n{{{{{placeholder}}}}}", results)


def test_a_table_and_where_it_comes_from(results: Results) -> None:
    origin = "From [speed.json](../results/speed.json), commit def5678, 2026-11-28, seeds 0 to 9"
    block = (
        "```table speed\ntype = {name}\ntime = {time | .1f} ({share | .0%})\nerror = {error}\n```"
    )
    assert render(block, results).splitlines()[:10] == [
        "| type | time | error |",
        "| --- | --- | --- |",
        "| float32 | 30.0 ms (-) | 0.25 |",
        "| bfloat16 | 12.5 ms (50 %) |  |",
        "",
        f"{origin}, cores 2.",
        "",
        "```sh",
        "python benchmarks/x.py",
        "```",
    ]


def test_a_table_of_some_rows(results: Results) -> None:
    block = "```table speed\nrows: bfloat16\ntype = {name}\n```"
    assert render(block, results).startswith("| type |\n| --- |\n| bfloat16 |\n\n")
    with pytest.raises(ValueError, match="no row 'int8'"):
        render(block.replace("rows: bfloat16", "rows: int8"), results)
    with pytest.raises(ValueError, match="has no 'speed'"):
        render(block.replace("{name}", "{speed}"), results)
    with pytest.raises(ValueError, match="heading ="):
        render("```table speed\n```", results)
    with pytest.raises(ValueError, match="has no end"):
        render("```table speed\ntype = {name}", results)


def test_a_result_of_no_commit_is_refused(tmp_path: Path) -> None:
    write_result_file(tmp_path / "speed.json", replace(RESULT, commit=UNKNOWN))
    with pytest.raises(ValueError, match="its commit is unknown"):
        render("{{speed | float32 | time}}", Results(tmp_path))


def test_result_files_without_a_figure_are_listed(results: Results) -> None:
    assert "- [speed.json](../results/speed.json): Which is better?" in render("text", results)
    assert "More" not in render("{{speed | float32 | time}}", results)


@pytest.mark.parametrize(
    "line",
    [
        "It takes 5 seconds.",
        "The distance is 2.72.",
        "97.8 % are right.",
        "An image of 64x64 pixels.",
        "It is 2.3x as fast.",
        "x2.3 as fast",
        "FID-3.22",
        "The share is `97.8 %`.",
        "Only half of them are right.",
        "It takes twenty steps.",
        "Three Times as fast.",
        "## 8 steps",
        "- 12 ms",
        "| a | b |",
        "![1,648 names](names.png)",
        "```table speed\nsteps of 8 = {name}\n```",
        "```table speed\nshare = 99 %{name}\n```",
    ],
)
def test_a_figure_typed_by_hand_is_refused(results: Results, line: str) -> None:
    with pytest.raises(ValueError, match="typed by hand|table without a result file"):
        render(f"{line}\n", results)


@pytest.mark.parametrize(
    "line",
    [
        "Trained on CIFAR-10 in bfloat16 or int8, and MaskGIT-256 in W4A8.",
        "See [the paper](https://arxiv.org/abs/2410.13136) and [speed](methods/local_steps.md#4).",
        "The option `local_steps:4,full=2` of one model, or two.",
        "```sh\ndemask generate -n 64\n```",
        "{{speed | float32 | time | .1f}}, {{speed | bfloat16 | steps}}",
        "Someone often weighs a hundredth.",
    ],
)
def test_names_and_commands_may_have_digits(line: str) -> None:
    assert list(typed_figures(f"{line}\n")) == []


def test_the_command_says_when_the_page_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "numbers.md"
    page.write_text(write_numbers.page().replace("Fréchet", "Frechet"), encoding="utf-8")
    monkeypatch.setattr(write_numbers, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["write_numbers.py", "--check"])
    assert write_numbers.main() == 1
    assert "make numbers" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["write_numbers.py"])
    assert write_numbers.main() == 0
    assert page.read_text(encoding="utf-8") == write_numbers.page()

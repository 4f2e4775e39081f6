"""How words are read and how mistakes are reported."""

from __future__ import annotations

import errno
import os
import threading

import click
import pytest
from click.testing import CliRunner, Result

from demask.cli.command import Group, Several, report_thread, spread


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--class cat ship -n 8", "--class cat --class ship -n 8"),
        ("--class cat --class ship", "--class cat --class ship"),
        ("-n 8 --class cat ship dog", "-n 8 --class cat --class ship --class dog"),
        ("--class cat -- ship", "--class cat -- ship"),
        ("-n 8 ship", "-n 8 ship"),
        ("--class", "--class"),
        ("--class=cat ship", "--class=cat ship"),
    ],
)
def test_spread_repeats_the_option(words: str, expected: str) -> None:
    assert spread(words.split(), {"--class"}) == expected.split()


def failing(error: BaseException) -> Result:
    @click.group(cls=Group)
    def program() -> None: ...

    @program.command()
    @click.option("--size", type=int)
    @click.option("--class", "names", cls=Several)
    def fail(size: int, names: tuple[str, ...]) -> None:
        raise error

    return CliRunner().invoke(program, ["fail", "--class", "a", "b"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), "x.png: Permission denied"),
        (ModuleNotFoundError("no", name="wandb"), "the package 'wandb' is not installed"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(error: Exception, line: str) -> None:
    result = failing(error)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {line}\n"


def test_a_bug_keeps_its_traceback() -> None:
    assert isinstance(failing(RuntimeError("ours")).exception, RuntimeError)


def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMASK_DEBUG", "1")
    assert isinstance(failing(ValueError("theirs")).exception, ValueError)


def test_an_interruption_is_quiet() -> None:
    result = failing(KeyboardInterrupt())
    assert (result.exit_code, result.output) == (130, "")


def test_several_values_reach_the_command() -> None:
    @click.group(cls=Group)
    def program() -> None: ...

    @program.command()
    @click.option("--class", "names", cls=Several)
    @click.argument("rest", nargs=-1)
    def show(names: tuple[str, ...], rest: tuple[str, ...]) -> None:
        click.echo(f"{names} {rest}")

    result = CliRunner().invoke(program, ["show", "--class", "a", "b", "--", "c"])
    assert result.output == "('a', 'b') ('c',)\n"


def test_the_error_of_a_tracker_is_reported_once() -> None:
    class Writer(threading.Thread):
        pass

    seen: list[object] = []
    for module in ("tensorboard.summary.writer", "demask.bulk"):
        Writer.__module__ = module
        fields = (OSError, OSError("full"), None, Writer())
        report_thread(seen.append, threading.ExceptHookArgs(fields))
    assert [error.thread.__class__.__module__ for error in seen] == ["demask.bulk"]

"""Progress of a sweep: a bar on a terminal, and one line per trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demask.sweeps.recipe import Trial
    from demask.sweeps.result import Result
    from demask.sweeps.sweep import Progress


@contextmanager
def shown() -> Iterator[Progress]:
    """A `Progress` for `demask.sweeps.sweep.sweep`, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    from demask.sweeps.sweep import Progress

    console = Console(stderr=True, highlight=False)
    display = Display(
        TextColumn("trial {task.fields[number]} of {task.fields[rows]}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} images"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = display.add_task("row", total=1, number=0, rows=0)

    def start(row: Trial, number: int, rows: int) -> None:
        display.reset(task, total=row.count, number=number, rows=rows)

    def end(result: Result) -> None:
        display.console.print(line(result), markup=False, soft_wrap=True)

    with display:
        yield Progress(start, lambda done: display.update(task, completed=done), end)


def line(result: Result) -> str:
    """A result as one line."""
    from demask.sweeps.table import number

    values = [f"{v.metric} {number(v)} [{v.extractor}]" for v in result.values]
    cost = f"{result.forwards:.1f} forwards"
    return "; ".join([result.trial.label, f"{result.trial.count:,} images", cost, *values])

"""A progress bar on stderr, shown only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from demask.generator import Job
    from demask.types import DecodeState

T = TypeVar("T")


class Bar:
    """A progress bar of images; of an unfinished batch, the fraction of steps done is counted."""

    def __init__(self, total: int, doing: str = "generating") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.display = Progress(
            TextColumn(doing),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} images"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.display.add_task(doing, total=total)
        self.done = 0
        self.shown = 0.0

    def watch(self, job: Job, state: DecodeState) -> None:
        """A `demask.bulk.generate.StepCallback`."""
        self.show(self.done + len(job.seeds) * state.step.progress)

    def count(self, images: Iterable[T]) -> Iterator[T]:
        """Yield the images unchanged, and count them."""
        for image in images:
            self.done += 1
            self.show(self.done)
            yield image

    def show(self, completed: float) -> None:
        """Advance the bar; it never decreases, since a batch is counted by its steps first."""
        self.shown = max(self.shown, completed)
        self.display.update(self.task, completed=self.shown)


@contextmanager
def generating(total: int) -> Iterator[Bar]:
    """A bar for the generation of a number of images, removed at the end."""
    bar = Bar(total)
    with bar.display:
        yield bar


@contextmanager
def counting(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for another kind of work on images; call the result with the number done."""
    bar = Bar(total, doing)
    with bar.display:
        yield bar.show

"""Writing in the background: the next image is generated while the disk takes the last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

WRITERS = 4
"""Files that wait for the disk at a time."""
MOST_WAITING = 64
"""Files that are waited for; with more, the generator waits."""

Write = Callable[[], None]


@contextmanager
def background() -> Iterator[Callable[[Write], None]]:
    """A function that does something soon; all of it is done, or has failed, at the end.

    Raises:
        Exception: the first that anything has raised, at the next call or at the end.
    """
    waiting: deque[Future[None]] = deque()

    def settle(most: int) -> None:
        while len(waiting) > most or (waiting and waiting[0].done()):
            waiting.popleft().result()

    with ThreadPoolExecutor(WRITERS, "demask-writer") as pool:

        def soon(write: Write) -> None:
            settle(MOST_WAITING - 1)
            waiting.append(pool.submit(write))

        yield soon
        settle(0)

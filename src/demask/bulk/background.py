"""Write files in background threads, while the next images are generated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

WRITERS = 4
"""The number of threads, and so of files that are written at the same time."""
MOST_WAITING = 64
"""The most files in the queue; a call with a full queue blocks until the oldest is written."""

Write = Callable[[], None]


@contextmanager
def background() -> Iterator[Callable[[Write], None]]:
    """A function that queues a write for the threads; the end of the block waits for all writes.

    Raises:
        Exception: the first error of a write, at the next call of the function or at the end.
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

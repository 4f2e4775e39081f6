"""Read batches in threads while the device computes the previous ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(
    read: Callable[[int], T], first: int, end: Callable[[], int], readers: int
) -> Iterator[T]:
    """The results of ``read`` for consecutive steps, in order.

    Args:
        read: called in other threads, for up to ``readers`` steps at a time.
        first: the first step.
        end: returns the step after the last one, which may change.
        readers: the number of threads, and of batches that are read ahead.
    """
    step = first
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        try:
            while step < end():
                batch = (ahead.popleft() if ahead else pool.submit(read, step)).result()
                step += 1
                while len(ahead) < readers and step + len(ahead) < end():
                    ahead.append(pool.submit(read, step + len(ahead)))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

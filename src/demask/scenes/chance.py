"""Random numbers that are the same for a seed on every platform and with every version of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Chance:
    """Random numbers of one scene.

    Args:
        seed: a non-negative integer.
        stream: number of the stream; streams of one seed are independent.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._source = np.random.PCG64([seed, stream])
        self._ready: list[float] = []

    def uniform(self, count: int) -> np.ndarray:
        """Numbers in [0, 1), (count)."""
        return (self._source.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def number(self) -> float:
        """One number in [0, 1)."""
        if not self._ready:
            self._ready = self.uniform(32).tolist()
        return self._ready.pop()

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all with the same probability."""
        return options[int(self.number() * len(options))]

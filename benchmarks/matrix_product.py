"""The machine's own rate: what every other speed is a share of."""

from __future__ import annotations

import time

import torch

SIZE = 3072


class MatrixProduct:
    """A product of two large square matrices in float32."""

    def __init__(self) -> None:
        self.a, self.b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
        self.out = torch.empty(SIZE, SIZE)

    def seconds(self) -> float:
        """The seconds of one product, now."""
        start = time.perf_counter()
        torch.mm(self.a, self.b, out=self.out)
        return time.perf_counter() - start

    @staticmethod
    def rate(seconds: float) -> float:
        """Multiplications and additions a second."""
        return 2 * SIZE**3 / seconds

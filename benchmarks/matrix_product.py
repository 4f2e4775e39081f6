"""The rate of large matrix products on this machine, which other speeds are compared with."""

from __future__ import annotations

import time

import torch
from torch import nn

from demask.transformer.packed_linear import PackedLinear
from demask.transformer.quantized_linear import ZERO, multiply, pack_int8

SIZE = 3072


def now() -> float:
    """A clock in seconds; with one thread processor time, which other programs disturb less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class MatrixProduct:
    """A product of two large square matrices, by default in float32."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.a, self.b = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
        self.out = torch.empty(SIZE, SIZE, dtype=dtype)

    def multiply(self) -> None:
        """The product by torch."""
        torch.mm(self.a, self.b, out=self.out)

    def seconds(self) -> float:
        """The seconds of one product, now."""
        start = now()
        self.multiply()
        return now() - start

    @staticmethod
    def rate(seconds: float) -> float:
        """Multiplications and additions a second."""
        return 2 * SIZE**3 / seconds


class FastestProduct(MatrixProduct):
    """The same product with packed weights, the fastest way known."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.int8 = dtype == torch.int8
        if self.int8:
            self.codes = torch.full((SIZE, SIZE), ZERO + 1, dtype=torch.uint8)
            self.packed = pack_int8(torch.ones(SIZE, SIZE, dtype=torch.int8))
            self.scale = torch.ones(SIZE)
        else:
            super().__init__(dtype)
            self.layer = PackedLinear(nn.Linear(SIZE, SIZE, bias=False, dtype=dtype))

    @torch.no_grad()
    def multiply(self) -> None:
        """The product once."""
        if self.int8:
            multiply(self.codes, self.packed, self.scale)
        else:
            self.layer(self.a)

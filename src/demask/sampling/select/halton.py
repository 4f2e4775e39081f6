"""The Halton order: spread each step's tokens evenly over the grid, independent of the prediction.

Shape legend: B batch, L tokens, N points, P positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from demask import rng
from demask.layouts import GRIDS, Layouts
from demask.sampling.select.order import Order, SelectionInput
from demask.types import Grid


@dataclass(frozen=True)
class Halton(Order):
    """Tokens in the order in which a Halton sequence first visits them (arXiv 2503.17076).

    A position is visited with all of its parts. Published with the ``arccos`` schedule and 32
    steps.

    Attributes:
        roll: start each image at its own offset in the sequence, derived from its seed.
    """

    roll: bool = True
    stage: ClassVar[Literal["positions"]] = "positions"
    unbiased: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    layouts: ClassVar[Layouts] = GRIDS

    def __call__(self, selection: SelectionInput) -> Tensor:
        layout = selection.step.layout
        rank_BP = visits(layout.grid).expand(len(selection.candidate_BL), layout.positions)
        if self.roll:
            # from the seed, not the random stream, so that it is the same in every step
            seeds = [rng.derive(g.initial_seed(), "halton") for g in selection.generators]
            starts = torch.tensor([seed % layout.positions for seed in seeds])
            rank_BP = (rank_BP - starts[:, None]) % layout.positions
        # the parts of a position are of equal rank; `top` takes them in order
        rank_BL = rank_BP.repeat_interleave(layout.parts, dim=1)
        return selection.top(-rank_BL.double().to(selection.candidate_BL.device))


@lru_cache(maxsize=64)
def visits(grid: Grid) -> Tensor:
    """Rank (P) of each cell's first visit by the sequence of bases 2 (rows) and 3 (columns)."""
    rows, columns = grid
    tokens = rows * columns
    points = 8 * tokens
    while True:
        k_N = torch.arange(1, points + 1)
        cell_N = _stretch(k_N, 2, rows) * columns + _stretch(k_N, 3, columns)
        never_L = torch.full((tokens,), points + 1)
        first_L = never_L.scatter_reduce(0, cell_N, k_N, "amin")
        if bool((first_L <= points).all()):
            return first_L.argsort().argsort()
        points *= 2


def _stretch(k_N: Tensor, base: int, size: int) -> Tensor:
    """floor(size * Phi_base(k)), the radical inverse of k, in exact integers."""
    inverse_N, scale = torch.zeros_like(k_N), 1
    while bool(k_N.any()):
        inverse_N = inverse_N * base + k_N % base
        scale, k_N = scale * base, k_N // base
    return inverse_N * size // scale

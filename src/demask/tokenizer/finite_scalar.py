"""Finite scalar quantisation: every latent channel is rounded to one of a few levels.

Shape legend: B batch, C latent channels (one per entry of ``levels``), H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FiniteScalarQuantizer(nn.Module):
    """Finite scalar quantisation (arXiv 2309.15505): the codebook is the grid of all levels.

    Args:
        levels: number of values of each latent channel; the codebook size is their product.
    """

    levels: Tensor
    strides: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.codebook_size = math.prod(levels)
        strides = [math.prod(levels[:c]) for c in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def bound(self, latent_BCHW: Tensor) -> Tensor:
        """Bound each channel to the range of its levels (section 3.1)."""
        levels_C11 = self.levels[:, None, None]
        half_C11 = (levels_C11 - 1) * (1 + 1e-3) / 2
        offset_C11 = (levels_C11 % 2 == 0) / 2
        shift_C11 = torch.atanh(offset_C11 / half_C11)
        return torch.tanh(latent_BCHW + shift_C11) * half_C11 - offset_C11

    def forward(self, latent_BCHW: Tensor) -> Tensor:
        """Quantise to values in [-1, 1]; straight-through gradients."""
        bounded_BCHW = self.bound(latent_BCHW)
        rounded_BCHW = bounded_BCHW + (bounded_BCHW.round() - bounded_BCHW).detach()
        return rounded_BCHW / (self.levels // 2)[:, None, None]

    def ids(self, latent_BCHW: Tensor) -> Tensor:
        """Latents -> ids (B, H, W) in [0, codebook_size)."""
        digits_BCHW = self.bound(latent_BCHW).round().long() + (self.levels // 2)[:, None, None]
        return (digits_BCHW * self.strides[:, None, None]).sum(1)

    def nearest(self, values_BCHW: Tensor) -> Tensor:
        """Values in [-1, 1] -> the ids (B, H, W) of the nearest levels."""
        levels_C11, half_C11 = self.levels[:, None, None], (self.levels // 2)[:, None, None]
        digits_BCHW = (values_BCHW * half_C11).round().long() + half_C11
        digits_BCHW = digits_BCHW.clamp_min(0).minimum(levels_C11 - 1)
        return (digits_BCHW * self.strides[:, None, None]).sum(1)

    def values(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> the quantised latents (B, C, H, W) that they stand for."""
        levels_C11, strides_C11 = self.levels[:, None, None], self.strides[:, None, None]
        half_C11 = levels_C11 // 2
        digits_BCHW = ids_BHW[:, None] // strides_C11 % levels_C11
        return (digits_BCHW - half_C11) / half_C11

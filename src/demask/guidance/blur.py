"""Blur a grid of tokens: a Gaussian over their latents, then the nearest codes.

Shape legend: B batch, L tokens, C latent channels, H W rows and columns.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from demask.types import Grid


class Latents(Protocol):
    """Interface of a tokenizer for `blur_tokens`."""

    codebook_size: int

    def latents(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the latents (B, C, H, W) that they stand for."""
        ...

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Latents -> the ids (B, H, W) of the nearest codes."""
        ...


def blur_tokens(tokenizer: Latents, ids_BL: Tensor, grid: Grid, sigma: float) -> Tensor:
    """The ids of a blurred image (B, L); masked tokens stay masked and do not contribute.

    Args:
        tokenizer: converts ids and latents.
        ids_BL: codes; masked tokens hold a larger number.
        grid: rows and columns.
        sigma: standard deviation of the Gaussian, in tokens.
    """
    ids_BHW = ids_BL.unflatten(1, grid)
    seen_BHW = ids_BHW < tokenizer.codebook_size
    latents_BCHW = tokenizer.latents(torch.where(seen_BHW, ids_BHW, 0)).double()
    seen_B1HW = seen_BHW[:, None].double()
    rows_HH, columns_WW = (gaussian(n, sigma).to(ids_BL.device) for n in grid)
    total_BCHW = rows_HH @ (latents_BCHW * seen_B1HW) @ columns_WW
    weight_B1HW = rows_HH @ seen_B1HW @ columns_WW
    nearest_BHW = tokenizer.nearest(total_BCHW / weight_B1HW.clamp_min(1e-12))
    return torch.where(seen_BHW, nearest_BHW, ids_BHW).flatten(1)


def gaussian(count: int, sigma: float) -> Tensor:
    """The weights of a 1-D Gaussian blur (count, count), float64."""
    place = torch.arange(count, dtype=torch.float64)
    return torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))

"""Meissonic's input and output layers.

Its blocks are in `demask.transformer.joint_blocks`. Attributes carry the names of the public state
dict.

Shape legend: B batch, L ids, N image tokens (2x2 ids are one token under feature compression),
D width, V codebook, X channels of a patch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.norm import RMSNorm
from demask.types import Condition, Grid

SINUSOID = 256


def check_even(grid: Grid, compress: bool) -> None:
    """Raise a ValueError if feature compression needs even sides and a side is odd."""
    if compress and (grid[0] % 2 or grid[1] % 2):
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} ids: feature compression needs even sides")


def without_text(condition: Condition) -> Condition:
    """A condition with a text of zeros."""
    zeros = {name: torch.zeros_like(condition[name]) for name in ("states", "pooled")}
    return Condition({**condition.tensors, **zeros})


def sinusoid(values: Tensor, width: int = SINUSOID) -> Tensor:
    """Numbers (...) -> (..., width): cosines first, then sines, from 1 to 1/10,000 radians."""
    half = width // 2
    speed = torch.exp(-math.log(10_000) * torch.arange(half, device=values.device) / half)
    angle = values.float()[..., None] * speed
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class MLP(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, width_in: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width, bias)
        self.linear_2 = nn.Linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width)."""
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeTextEmbedding(nn.Module):
    """The sum of an MLP of the time and an MLP of the pooled condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.timestep_embedder = MLP(SINUSOID, width)
        self.text_embedder = MLP(width, width)

    def forward(self, time_B: Tensor, pooled_BD: Tensor) -> Tensor:
        """(B, D)."""
        wave = sinusoid(1000 * time_B).to(pooled_BD.dtype)
        return self.timestep_embedder(wave) + self.text_embedder(pooled_BD)


class Embed(nn.Module):
    """Ids -> vectors."""

    def __init__(self, vocabulary: int, embed_width: int, width: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, embed_width)
        self.layer_norm = RMSNorm(embed_width, eps=1e-6)
        self.conv = nn.Conv2d(embed_width, width, 1, bias=False)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L, D)."""
        x_BLD = self.layer_norm(self.embeddings(ids_BL))
        return F.linear(x_BLD, self.conv.weight[:, :, 0, 0])


class Downsample(nn.Module):
    """Feature compression: 2x2 ids to one token (section 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, eps=1e-6)
        self.conv = nn.Conv2d(width, width, 2, stride=2, bias=False)

    def forward(self, x_BLD: Tensor, grid: Grid) -> Tensor:
        """(B, L, D) -> (B, L / 4, D): the strided convolution as a matrix product."""
        cells = self.norm(x_BLD).unflatten(1, (grid[0] // 2, 2, grid[1] // 2, 2))
        patch_BNX = cells.transpose(2, 3).flatten(3).flatten(1, 2)
        return F.linear(patch_BNX, self.conv.weight.permute(0, 2, 3, 1).flatten(1))


class Upsample(nn.Module):
    """Inverse of feature compression: one token to 2x2 ids."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, eps=1e-6)
        self.conv = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)

    def forward(self, x_BND: Tensor, grid: Grid) -> Tensor:
        """(B, L / 4, D) -> (B, L, D): the transposed convolution as a matrix product."""
        weight = self.conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
        patch_BNX = F.linear(self.norm(x_BND), weight)
        cells = patch_BNX.unflatten(1, (grid[0] // 2, grid[1] // 2)).unflatten(3, (2, 2, -1))
        return cells.transpose(2, 3).flatten(1, 4)


class Head(nn.Module):
    """Vectors -> logits over the codebook."""

    def __init__(self, width: int, codebook_size: int, inner_width: int | None = None) -> None:
        super().__init__()
        inner_width = inner_width or width
        self.conv1 = nn.Conv2d(width, inner_width, 1, bias=False)
        self.layer_norm = RMSNorm(inner_width, eps=1e-6)
        self.conv2 = nn.Conv2d(inner_width, codebook_size, 1, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, V); the 1x1 convolutions are computed as matrix products."""
        return self.to_logits(self.project(x_BLD))

    def project(self, x_BLD: Tensor) -> Tensor:
        """The input of the output matrix, (B, L, D)."""
        return self.layer_norm(F.linear(x_BLD, self.conv1.weight[:, :, 0, 0]))

    def to_logits(self, x_BLD: Tensor) -> Tensor:
        """Apply the output matrix, (B, L, V)."""
        return F.linear(x_BLD, self.conv2.weight[:, :, 0, 0])

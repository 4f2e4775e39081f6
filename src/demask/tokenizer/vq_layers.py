"""Layers of the VQGAN in `demask.tokenizer.vq_model`.

Shape legend: B batch, C channels, H W rows and columns, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution in the dtype of its input; weights are cast on the fly."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """As `torch.nn.Conv2d`."""
        assert self.bias is not None
        weight, bias = self.weight.to(x_BCHW.dtype), self.bias.to(x_BCHW.dtype)
        return F.conv2d(x_BCHW, weight, bias, self.stride, self.padding)


class Norm(nn.GroupNorm):
    """A group norm of epsilon 1e-6, in the dtype of its input."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, eps=1e-6)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """As `torch.nn.GroupNorm`."""
        weight, bias = self.weight.to(x_BCHW.dtype), self.bias.to(x_BCHW.dtype)
        return F.group_norm(x_BCHW, self.num_groups, weight, bias, self.eps)


class ResnetBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, added to the input (through 1x1 where the width changes).

    Unlike `demask.tokenizer.blocks.ResBlock`, it has biases and its shortcut takes the input.
    """

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = Norm(groups, channels_in)
        self.conv1 = Conv(channels_in, channels_out, 3, padding=1)
        self.norm2 = Norm(groups, channels_out)
        self.conv2 = Conv(channels_out, channels_out, 3, padding=1)
        self.conv_shortcut = (
            Conv(channels_in, channels_out, 1) if channels_in != channels_out else None
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same size in and out."""
        branch_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        branch_BCHW = self.conv2(F.silu(self.norm2(branch_BCHW)))
        if self.conv_shortcut is not None:
            x_BCHW = self.conv_shortcut(x_BCHW)
        return x_BCHW + branch_BCHW


class Attention(nn.Module):
    """Self-attention of one head over all positions, added to the input (arXiv 2012.09841)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = Norm(groups, channels)
        self.q, self.k, self.v, self.proj_out = (Conv(channels, channels, 1) for _ in range(4))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape in and out."""
        normed_BCHW = self.norm(x_BCHW)
        q_BLC, k_BLC, v_BLC = (
            project(normed_BCHW).flatten(2).transpose(1, 2) for project in (self.q, self.k, self.v)
        )
        gathered_BLC = F.scaled_dot_product_attention(q_BLC, k_BLC, v_BLC)
        return x_BCHW + self.proj_out(gathered_BLC.transpose(1, 2).reshape(x_BCHW.shape))


class Downsampler(nn.Module):
    """Halve the size by a strided convolution, padded on the right and at the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsampler(nn.Module):
    """Double the size by nearest-neighbour upsampling and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, then optional resampling.

    Args:
        widths: channels before the first block and after each.
        groups: of the norms.
        resize: halve (down) or double (up) the size at the end.
        attentions: an attention after each of so many blocks, the first ones.
    """

    def __init__(
        self,
        widths: Sequence[int],
        groups: int,
        resize: Literal["down", "up"] | None = None,
        attentions: int = 0,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in pairwise(widths))
        self.attentions = nn.ModuleList(
            Attention(width, groups) for width in widths[1 : 1 + attentions]
        )
        # lists of length 1, as in the public names
        self.downsamplers = nn.ModuleList([Downsampler(widths[-1])] if resize == "down" else [])
        self.upsamplers = nn.ModuleList([Upsampler(widths[-1])] if resize == "up" else [])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same size in and out, or half of it, or twice."""
        for index, block in enumerate(self.resnets):
            x_BCHW = block(x_BCHW)
            if index < len(self.attentions):
                x_BCHW = self.attentions[index](x_BCHW)
        for resample in (*self.downsamplers, *self.upsamplers):
            x_BCHW = resample(x_BCHW)
        return x_BCHW


def levels(
    widths: Sequence[int],
    blocks: int,
    groups: int,
    resize: Literal["down", "up"],
    attention: Sequence[int] = (),
) -> nn.ModuleList:
    """One level per width; all but the last resample. Those of ``attention`` have it."""
    last = len(widths) - 1
    return nn.ModuleList(
        Level(
            [before] + [after] * blocks,
            groups,
            resize if index < last else None,
            blocks if index in attention else 0,
        )
        for index, (before, after) in enumerate(pairwise((widths[0], *widths)))
    )

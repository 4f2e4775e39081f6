"""Building blocks of the convolutional tokenizers.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32


def check_sides(image_BCHW: Tensor, downsampling: int) -> None:
    """Raise a ValueError unless both sides are multiples of ``downsampling``."""
    height, width = image_BCHW.shape[-2:]
    if height % downsampling or width % downsampling:
        raise ValueError(
            f"an image of {width}x{height} pixels: both sides must be multiples of {downsampling}"
        )


def norm(channels: int) -> nn.GroupNorm:
    """The group norm of the published tokenizers: 32 groups, epsilon 1e-6."""
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


def same_conv(channels_in: int, channels_out: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """A convolution that keeps the size.

    TensorFlow's "SAME" padding differs from symmetric padding only at strides above 1; see
    `HalvingConv`.
    """
    assert kernel % 2 == 1, "an even kernel needs asymmetric padding"
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


class HalvingConv(nn.Conv2d):
    """A 3x3 convolution of stride 2 on even sides, padded as TensorFlow's "SAME": right and below.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Half the size."""
        return super().forward(F.pad(x_BCHW, (0, 1, 0, 1)))


class ResBlock(nn.Module):
    """The residual block of MaskGIT's tokenizer, with a quirk of the published weights.

    Where the width changes, the 1x1 shortcut is applied to the *processed* branch and added to
    it; the block's input is not added.
    """

    def __init__(self, channels_in: int, channels_out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = norm(channels_in)
        self.conv1 = same_conv(channels_in, channels_out, 3, bias=False)
        self.norm2 = norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = same_conv(channels_out, channels_out, 3, bias=False)
        self.nin_shortcut = (
            same_conv(channels_out, channels_out, 1, bias=False)
            if channels_in != channels_out
            else None
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same size in and out."""
        branch_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        branch_BCHW = self.conv2(self.dropout(F.silu(self.norm2(branch_BCHW))))
        if self.nin_shortcut is None:
            return x_BCHW + branch_BCHW
        return branch_BCHW + self.nin_shortcut(branch_BCHW)


class Level(nn.Module):
    """The residual blocks of one resolution; the caller downsamples, `upsample` upsamples."""

    def __init__(
        self, channels_in: int, channels_out: int, count: int, dropout: float, *, upsamples: bool
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * count
        self.block = nn.ModuleList(ResBlock(a, b, dropout) for a, b in pairwise(widths))
        self.upsample_conv = (
            same_conv(channels_out, channels_out, 3, bias=True) if upsamples else None
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same size in and out, or twice the size where the level upsamples."""
        for block in self.block:
            x_BCHW = block(x_BCHW)
        if self.upsample_conv is None:
            return x_BCHW
        return self.upsample_conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))

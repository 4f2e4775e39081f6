"""The tokenizer of Meissonic and aMUSEd, a VQGAN, under its public weights' names.

Shape legend: B batch, C channels, H W rows and columns, D latent or code width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.tokenizer.blocks import check_sides
from demask.tokenizer.quantizer import VectorQuantizer


@dataclass(frozen=True)
class VQModelConfig:
    """Sizes of a `VQModel`; the defaults are those that Meissonic published (arXiv 2410.08261).

    Attributes:
        widths: channels of each level, finest first; each level but the last halves the
            image's sides.
        blocks: residual blocks a level; the decoder has one more.
        codebook_size: codes.
        latent_width: channels between the networks and their 1x1 convolutions to the codes.
        code_width: D, channels of a code.
        groups: groups of the group norms; every width is a multiple of it.
        image_channels: channels of an image.
        force_upcast: compute in float32 if the weights are float16, whose range is too small for
            the published model.
    """

    widths: tuple[int, ...] = (128, 256, 256, 512, 768)
    blocks: int = 2
    codebook_size: int = 8192
    latent_width: int = 64
    code_width: int = 64
    groups: int = 32
    image_channels: int = 3
    force_upcast: bool = True

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("widths needs one entry a level")
        if min(self.groups, self.blocks) < 1:
            raise ValueError("groups and blocks must be at least 1")
        if any(width < 1 or width % self.groups for width in self.widths):
            raise ValueError(f"widths {self.widths} must be multiples of groups {self.groups}")

    @classmethod
    def meissonic(cls) -> VQModelConfig:
        """The published tokenizer of Meissonic, with a downsampling of 16."""
        return cls()


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
    """

    def __init__(
        self, widths: Sequence[int], groups: int, resize: Literal["down", "up"] | None = None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in pairwise(widths))
        # lists of length 1, as in the public names
        self.downsamplers = nn.ModuleList([Downsampler(widths[-1])] if resize == "down" else [])
        self.upsamplers = nn.ModuleList([Upsampler(widths[-1])] if resize == "up" else [])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same size in and out, or half of it, or twice."""
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x_BCHW = layer(x_BCHW)
        return x_BCHW


def levels(
    widths: Sequence[int], blocks: int, groups: int, resize: Literal["down", "up"]
) -> nn.ModuleList:
    """One level per width; all but the last resample."""
    pairs = enumerate(pairwise((widths[0], *widths)), start=1)
    return nn.ModuleList(
        Level([before] + [after] * blocks, groups, resize if index < len(widths) else None)
        for index, (before, after) in pairs
    )


class Encoder(nn.Module):
    """Pixels -> latents."""

    def __init__(self, config: VQModelConfig) -> None:
        super().__init__()
        widths, last = config.widths, config.widths[-1]
        self.conv_in = Conv(config.image_channels, widths[0], 3, padding=1)
        self.down_blocks = levels(widths, config.blocks, config.groups, "down")
        self.mid_block = Level([last] * 3, config.groups)
        self.conv_norm_out = Norm(config.groups, last)
        self.conv_out = Conv(last, config.latent_width, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Images -> latents (B, D, h, w)."""
        x_BCHW = self.conv_in(image_BCHW)
        for level in (*self.down_blocks, self.mid_block):
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.conv_norm_out(x_BCHW)))


class Decoder(nn.Module):
    """Latents -> pixels; ``up_blocks`` are numbered from the coarsest level."""

    def __init__(self, config: VQModelConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.conv_in = Conv(config.latent_width, widths[0], 3, padding=1)
        self.mid_block = Level([widths[0]] * 3, config.groups)
        self.up_blocks = levels(widths, config.blocks + 1, config.groups, "up")
        self.conv_norm_out = Norm(config.groups, widths[-1])
        self.conv_out = Conv(widths[-1], config.image_channels, 3, padding=1)

    def forward(self, latent_BDHW: Tensor) -> Tensor:
        """Latents -> images, not clipped."""
        x_BCHW = self.conv_in(latent_BDHW)
        for level in (self.mid_block, *self.up_blocks):
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.conv_norm_out(x_BCHW)))


class VQModel(nn.Module):
    """Pixels <-> ids; see `VQModelConfig`."""

    def __init__(self, config: VQModelConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.downsampling = 2 ** (len(config.widths) - 1)
        self.encoder = Encoder(config)
        self.quant_conv = Conv(config.latent_width, config.code_width, 1)
        self.quantize = VectorQuantizer(config.codebook_size, config.code_width)
        self.post_quant_conv = Conv(config.code_width, config.latent_width, 1)
        self.decoder = Decoder(config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the computation: that of the weights, or float32 for float16 weights."""
        stored = self.quantize.embedding.weight.dtype
        upcast = self.config.force_upcast and stored == torch.float16
        return torch.float32 if upcast else stored

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, H / downsampling, W / downsampling).

        Raises:
            ValueError: a side that is no multiple of ``downsampling``.
        """
        check_sides(image_BCHW, self.downsampling)
        stored = self.quantize.embedding.weight
        # the public network takes [0, 1] without the usual shift to [-1, 1]
        image_BCHW = image_BCHW.to(stored.device, self.dtype)
        latent_BDHW = self.quant_conv(self.encoder(image_BCHW))
        if stored.dtype == self.dtype:
            return self.quantize.ids(latent_BDHW)
        # only the small codebook is converted as a whole
        return copy.deepcopy(self.quantize).to(self.dtype).ids(latent_BDHW)

    def decode(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> images (B, 3, h, w) in [0, 1]."""
        codes_BDHW = self.quantize.values(ids_BHW).to(self.dtype)
        return self.decoder(self.post_quant_conv(codes_BDHW)).clamp(0, 1)

    def latents(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the codes (B, D, H, W) that they stand for."""
        return self.quantize.values(ids_BHW)

    def nearest(self, latents_BDHW: Tensor) -> Tensor:
        """Latents like those of `latents` -> the nearest ids (B, H, W)."""
        return self.quantize.ids(latents_BDHW.to(self.quantize.embedding.weight))

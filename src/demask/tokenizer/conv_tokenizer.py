"""A small convolutional tokenizer for training from scratch on one machine.

Space to depth, a few residual blocks per level, finite scalar quantisation, and the inverse. There
is no attention: any size that is a multiple of ``downsampling`` works.

Shape legend: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.tokenizer.blocks import check_sides
from demask.tokenizer.finite_scalar import FiniteScalarQuantizer


@dataclass(frozen=True)
class ConvTokenizerConfig:
    """Sizes of a `ConvTokenizer`.

    Attributes:
        levels: levels of the finite scalar quantiser; the codebook size is their product.
        widths: channels at each level; each level halves the image's sides.
        encoder_blocks: residual blocks of each level's encoder.
        decoder_blocks: residual blocks of each level's decoder.
        pixel_width: channels of the last block, at full resolution.
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)
    widths: tuple[int, ...] = (64, 128)
    encoder_blocks: tuple[int, ...] = (2, 3)
    decoder_blocks: tuple[int, ...] = (3, 4)
    pixel_width: int = 32

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks) >= 1:
            raise ValueError("widths, encoder_blocks and decoder_blocks need one entry a level")
        if any(width % 16 for width in (*self.widths, self.pixel_width)):
            raise ValueError("widths and pixel_width must be multiples of 16")
        if min(self.levels) < 2:
            raise ValueError("every quantiser level count must be at least 2")


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU and 3x3 convolution, twice; the second convolution is initialised to zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(width // 16, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(width // 16, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape in and out."""
        hidden_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        return x_BCHW + self.conv2(F.silu(self.norm2(hidden_BCHW)))


def blocks(width: int, count: int) -> list[nn.Module]:
    """A stack of residual blocks."""
    return [ResidualBlock(width) for _ in range(count)]


class ConvTokenizer(nn.Module):
    """Pixels <-> ids; see `ConvTokenizerConfig`."""

    def __init__(self, config: ConvTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = FiniteScalarQuantizer(config.levels)
        self.codebook_size = self.quantizer.codebook_size
        self.downsampling = 2 ** len(config.widths)

        encoder: list[nn.Module] = []
        channels = 3
        for width, count in zip(config.widths, config.encoder_blocks, strict=True):
            encoder += [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1)]
            encoder += blocks(width, count)
            channels = width
        encoder += [nn.GroupNorm(channels // 16, channels), nn.SiLU()]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(channels, len(config.levels), 1))

        decoder: list[nn.Module] = [nn.Conv2d(len(config.levels), channels, 3, padding=1)]
        finer = (config.pixel_width, *config.widths[:-1])
        for level in reversed(range(len(config.widths))):
            decoder += blocks(config.widths[level], config.decoder_blocks[level])
            up = nn.Conv2d(config.widths[level], 4 * finer[level], 3, padding=1)
            decoder += [up, nn.PixelShuffle(2)]
        decoder += [ResidualBlock(finer[0]), nn.GroupNorm(finer[0] // 16, finer[0]), nn.SiLU()]
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(finer[0], 3, 3, padding=1))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The reconstruction, not clipped, with gradients through the quantiser."""
        latent_BCHW = self.encoder(image_BCHW * 2 - 1)
        return (self.decoder(self.quantizer(latent_BCHW)) + 1) / 2

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, H / downsampling, W / downsampling).

        Raises:
            ValueError: a side that is no multiple of ``downsampling``.
        """
        check_sides(image_BCHW, self.downsampling)
        return self.quantizer.ids(self.encoder(image_BCHW * 2 - 1))

    def decode(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> images (B, 3, h, w) in [0, 1]."""
        values_BCHW = self.quantizer.values(ids_BHW).to(next(self.parameters()).dtype)
        return ((self.decoder(values_BCHW) + 1) / 2).clamp(0, 1)

    def latents(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the quantised latents (B, C, H, W) that they stand for."""
        return self.quantizer.values(ids_BHW)

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Latents like those of `latents` -> the nearest ids (B, H, W)."""
        return self.quantizer.nearest(latents_BCHW)

    @property
    def last_layer(self) -> Tensor:
        """The weight whose gradients balance an adversarial loss (arXiv 2012.09841, eq. 7)."""
        layer = self.decoder[-1]
        assert isinstance(layer, nn.Conv2d)
        return layer.weight

    @torch.no_grad()
    def usage(self, ids_BHW: Tensor) -> float:
        """The fraction of the codebook that occurs in some images' ids."""
        return len(ids_BHW.unique()) / self.codebook_size

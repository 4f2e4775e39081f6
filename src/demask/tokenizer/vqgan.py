"""The tokenizers of MaskGIT (arXiv 2202.04200) and MaskBit (arXiv 2409.16211, section 3): VQGANs.

The names are those of MaskGIT's public weights; `demask.checkpoint.public_maskbit` maps MaskBit's.

Shape legend: B batch, C channels, H W rows and columns, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from demask.tokenizer.blocks import (
    GROUPS,
    HalvingConv,
    Level,
    ResBlock,
    check_sides,
    norm,
    same_conv,
)
from demask.tokenizer.quantizer import LookupFreeQuantizer, VectorQuantizer


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a `VQGAN`; the defaults are those of MaskGIT's published one.

    Attributes:
        channels: channels at the finest level, a multiple of 32.
        multipliers: channels of each level, finest first, as multiples of ``channels``; each
            level but the last halves the image's sides.
        blocks: residual blocks per level and in the middle.
        codebook_size: codes.
        latent_width: D, channels of a code.
        image_channels: channels of an image.
        dropout: in the residual blocks, in training.
        strided: levels are halved by strided convolutions instead of averages (VQGAN+, MaskBit).
        decoder_blocks: residual blocks per level of the decoder; 0: as many as ``blocks``.
        lookup_free: codes are the signs of the D channels instead of learned vectors (LFQ, arXiv
            2310.05737), K = 2^D.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    codebook_size: int = 1024
    latent_width: int = 256
    image_channels: int = 3
    dropout: float = 0.0
    strided: bool = False
    decoder_blocks: int = 0
    lookup_free: bool = False

    def __post_init__(self) -> None:
        if self.channels % GROUPS:
            raise ValueError(f"channels {self.channels} must be a multiple of {GROUPS}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError("multipliers needs one entry of at least 1 a level")
        if self.lookup_free and self.codebook_size != 2**self.latent_width:
            raise ValueError(
                f"{self.latent_width} bits are {2**self.latent_width} codes, not "
                f"{self.codebook_size}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @classmethod
    def imagenet(cls) -> VQGANConfig:
        """The published tokenizer of the ImageNet models, for 256x256 and 512x512 pixels."""
        return cls()

    @classmethod
    def maskbit(cls, bits: int) -> VQGANConfig:
        """MaskBit's published tokenizer of 10, 12, 14, 16 or 18 bits."""
        return cls(codebook_size=2**bits, latent_width=bits, strided=True, lookup_free=True)


class Encoder(nn.Module):
    """Pixels -> latents."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = (config.channels, *config.widths)
        self.conv_in = same_conv(config.image_channels, config.channels, 3, bias=False)
        self.down = nn.ModuleList(
            Level(a, b, config.blocks, config.dropout, upsamples=False) for a, b in pairwise(widths)
        )
        self.shrink = nn.ModuleList(
            HalvingConv(width) if config.strided else nn.AvgPool2d(2) for width in widths[1:-1]
        )
        self.mid = nn.ModuleList(
            ResBlock(widths[-1], widths[-1], config.dropout) for _ in range(config.blocks)
        )
        self.norm_out = norm(widths[-1])
        self.conv_out = same_conv(widths[-1], config.latent_width, 1, bias=True)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Images -> latents (B, D, h, w)."""
        x_BCHW = self.conv_in(image_BCHW)
        for index, level in enumerate(self.down):
            x_BCHW = level(x_BCHW if index == 0 else self.shrink[index - 1](x_BCHW))
        for block in self.mid:
            x_BCHW = block(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(x_BCHW)))


class Decoder(nn.Module):
    """Latents -> pixels; ``up`` is numbered from the finest level and run from the coarsest."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = (*config.widths, config.widths[-1])
        blocks = config.decoder_blocks or config.blocks
        self.conv_in = same_conv(config.latent_width, widths[-1], 3, bias=True)
        self.mid = nn.ModuleList(
            ResBlock(widths[-1], widths[-1], config.dropout) for _ in range(blocks)
        )
        self.up = nn.ModuleList(
            Level(coarse, fine, blocks, config.dropout, upsamples=index > 0)
            for index, (fine, coarse) in enumerate(pairwise(widths))
        )
        self.norm_out = norm(widths[0])
        self.conv_out = same_conv(widths[0], config.image_channels, 3, bias=True)

    def forward(self, latent_BDHW: Tensor) -> Tensor:
        """Latents -> images, not clipped."""
        x_BCHW = self.conv_in(latent_BDHW)
        for block in self.mid:
            x_BCHW = block(x_BCHW)
        for level in reversed(self.up):
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(x_BCHW)))


class VQGAN(nn.Module):
    """Pixels <-> ids; see `VQGANConfig`."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.downsampling = 2 ** (len(config.multipliers) - 1)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize: VectorQuantizer | LookupFreeQuantizer = (
            LookupFreeQuantizer(config.latent_width)
            if config.lookup_free
            else VectorQuantizer(config.codebook_size, config.latent_width)
        )

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, H / downsampling, W / downsampling).

        Raises:
            ValueError: a side that is no multiple of ``downsampling``.
        """
        check_sides(image_BCHW, self.downsampling)
        return self.quantize.ids(self.encoder(image_BCHW.to(self.decoder.conv_in.weight)))

    def decode(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> images (B, 3, h, w) in [0, 1]."""
        return self.decoder(self.latents(ids_BHW)).clamp(0, 1)

    def latents(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the codes (B, D, H, W) that they stand for."""
        return self.quantize.values(ids_BHW).to(self.decoder.conv_in.weight)

    def nearest(self, latents_BDHW: Tensor) -> Tensor:
        """Latents like those of `latents` -> the nearest ids (B, H, W)."""
        return self.quantize.ids(latents_BDHW.to(self.decoder.conv_in.weight))

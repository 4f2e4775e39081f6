"""VQGAN tokenizers: of Meissonic and aMUSEd, of LlamaGen and of MaskGIT-pytorch (taming).

The names are those of Meissonic's public weights; the key maps of the others are in
`demask.checkpoint.public_vqgan`.

Shape legend: B batch, C channels, H W rows and columns, D latent or code width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.tokenizer.blocks import check_sides
from demask.tokenizer.quantizer import VectorQuantizer
from demask.tokenizer.vq_layers import Conv, Level, Norm, levels


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
        attention: levels with attention after each residual block, 0 being the finest.
        mid_attention: attention between the two blocks in the middle.
        unit_codes: vectors and codes are scaled to unit length (LlamaGen, arXiv 2406.06525).
        signed: the networks read and write pixels in [-1, 1], not in [0, 1].
    """

    widths: tuple[int, ...] = (128, 256, 256, 512, 768)
    blocks: int = 2
    codebook_size: int = 8192
    latent_width: int = 64
    code_width: int = 64
    groups: int = 32
    image_channels: int = 3
    force_upcast: bool = True
    attention: tuple[int, ...] = ()
    mid_attention: bool = False
    unit_codes: bool = False
    signed: bool = False

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("widths needs one entry a level")
        if min(self.groups, self.blocks) < 1:
            raise ValueError("groups and blocks must be at least 1")
        if any(width < 1 or width % self.groups for width in self.widths):
            raise ValueError(f"widths {self.widths} must be multiples of groups {self.groups}")
        if any(not 0 <= level < len(self.widths) for level in self.attention):
            raise ValueError(f"attention {self.attention} must be among the levels of widths")

    @classmethod
    def meissonic(cls) -> VQModelConfig:
        """The published tokenizer of Meissonic, with a downsampling of 16."""
        return cls()

    @classmethod
    def llamagen(cls, downsampling: int = 16) -> VQModelConfig:
        """The published tokenizers of LlamaGen (arXiv 2406.06525), f16 and f8."""
        widths = {16: (128, 128, 256, 256, 512), 8: (128, 256, 256, 512)}[downsampling]
        return attending(widths, codebook_size=16384, code_width=8, unit_codes=True)

    @classmethod
    def taming(cls) -> VQModelConfig:
        """The tokenizer of MaskGIT-pytorch, a VQGAN of taming-transformers (arXiv 2310.14400)."""
        return attending((128, 128, 256, 256, 512), codebook_size=1024, code_width=256)


def attending(widths: tuple[int, ...], **more: Any) -> VQModelConfig:
    """Sizes of a VQGAN with attention at its coarsest level and in the middle."""
    return VQModelConfig(
        widths,
        latent_width=256,
        attention=(len(widths) - 1,),
        mid_attention=True,
        signed=True,
        **more,
    )


class Encoder(nn.Module):
    """Pixels -> latents."""

    def __init__(self, config: VQModelConfig) -> None:
        super().__init__()
        widths, last = config.widths, config.widths[-1]
        self.conv_in = Conv(config.image_channels, widths[0], 3, padding=1)
        self.down_blocks = levels(widths, config.blocks, config.groups, "down", config.attention)
        self.mid_block = Level([last] * 3, config.groups, attentions=int(config.mid_attention))
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
        self.mid_block = Level([widths[0]] * 3, config.groups, attentions=int(config.mid_attention))
        attention = [len(widths) - 1 - level for level in config.attention]
        self.up_blocks = levels(widths, config.blocks + 1, config.groups, "up", attention)
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
        self.quantize = VectorQuantizer(
            config.codebook_size, config.code_width, unit=config.unit_codes
        )
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
        image_BCHW = image_BCHW.to(stored.device, self.dtype)
        if self.config.signed:
            image_BCHW = image_BCHW * 2 - 1
        latent_BDHW = self.quant_conv(self.encoder(image_BCHW))
        if stored.dtype == self.dtype:
            return self.quantize.ids(latent_BDHW)
        # only the small codebook is converted as a whole
        return copy.deepcopy(self.quantize).to(self.dtype).ids(latent_BDHW)

    def decode(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> images (B, 3, h, w) in [0, 1]."""
        codes_BDHW = self.quantize.values(ids_BHW).to(self.dtype)
        image_BCHW = self.decoder(self.post_quant_conv(codes_BDHW))
        return ((image_BCHW + 1) / 2 if self.config.signed else image_BCHW).clamp(0, 1)

    def latents(self, ids_BHW: Tensor) -> Tensor:
        """Ids -> the codes (B, D, H, W) that they stand for."""
        return self.quantize.values(ids_BHW)

    def nearest(self, latents_BDHW: Tensor) -> Tensor:
        """Latents like those of `latents` -> the nearest ids (B, H, W)."""
        return self.quantize.ids(latents_BDHW.to(self.quantize.embedding.weight))

"""TiTok: an image as a short row of tokens (arXiv 2406.07550), and TA-TiTok (arXiv 2501.07730).

The state dict has the public checkpoints' keys, so the attributes carry their names.

Shape legend: B batch, C channels, D width, H W rows and columns, L tokens, T text tokens, E text
width, Z code width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from demask.tokenizer.quantizer import VectorQuantizer
from demask.tokenizer.titok_layers import Decoder, Encoder, ViTSizes, small
from demask.tokenizer.vqgan import Decoder as PixelDecoder
from demask.tokenizer.vqgan import VQGANConfig
from demask.types import DECODER_TEXT, Condition, TokenLayout


@dataclass(frozen=True)
class TiTokConfig:
    """Sizes of a `TiTok`; the defaults are those of the published L-32.

    Attributes:
        codebook_size: codes.
        code_width: Z.
        tokens: L.
        image_size: height and width of the images in pixels.
        unit_codes: codes and latents are scaled to unit length.
        reinterpreted: see `Encoder`.
        width: of the encoder, D.
        depth: blocks of the encoder.
        heads: of the encoder.
        patch: side of the encoder's patches in pixels.
        decoder_width: of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: of the decoder.
        decoder_patch: side of the decoder's patches in pixels.
        proxy_codes: codes of the pixel decoder, whose expectation it reads (two-stage); 0: the
            decoder predicts pixels (single-stage).
        proxy_width: channels of such a code.
        pixel_widths: channels of the pixel decoder's levels, finest first.
        pixel_blocks: its residual blocks a level.
    """

    codebook_size: int = 4096
    code_width: int = 12
    tokens: int = 32
    image_size: int = 256
    unit_codes: bool = True
    reinterpreted: bool = True
    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    decoder_width: int = 1024
    decoder_depth: int = 24
    decoder_heads: int = 16
    decoder_patch: int = 16
    proxy_codes: int = 1024
    proxy_width: int = 256
    pixel_widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    pixel_blocks: int = 2

    def __post_init__(self) -> None:
        for width, heads in ((self.width, self.heads), (self.decoder_width, self.decoder_heads)):
            if width % heads:
                raise ValueError(f"width {width} must be a multiple of {heads} heads")
        for patch in (self.patch, self.decoder_patch):
            if patch < 1 or self.image_size % patch:
                raise ValueError(f"image_size {self.image_size} must be a multiple of {patch}")
        if self.proxy_codes and self.decoder_patch != 2 ** (len(self.pixel_widths) - 1):
            raise ValueError(
                f"{len(self.pixel_widths)} levels of the pixel decoder do not enlarge a code to "
                f"{self.decoder_patch} pixels"
            )

    @property
    def pixel_config(self) -> VQGANConfig:
        """The sizes of the pixel decoder, that of MaskGIT's tokenizer."""
        finest = self.pixel_widths[0]
        return VQGANConfig(
            channels=finest,
            multipliers=tuple(width // finest for width in self.pixel_widths),
            blocks=self.pixel_blocks,
            codebook_size=self.proxy_codes,
            latent_width=self.proxy_width,
        )


@dataclass(frozen=True)
class TATiTokConfig(TiTokConfig):
    """Sizes of a `TATiTok`.

    Attributes:
        text_length: text tokens that the decoder reads, T.
        text_width: E.
    """

    text_length: int = 77
    text_width: int = 768


class TiTok(nn.Module):
    """Pixels <-> a row of L ids; see `TiTokConfig`.

    Attributes:
        image_size: height and width of its images.
        layout: of its ids, a row.
    """

    def __init__(self, config: TiTokConfig, text: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.config = config
        self.codebook_size, self.downsampling = config.codebook_size, config.image_size
        self.image_size = (config.image_size, config.image_size)
        self.layout = TokenLayout((config.tokens,))
        encoder = ViTSizes(config.width, config.depth, config.heads, config.patch)
        decoder = ViTSizes(
            config.decoder_width, config.decoder_depth, config.decoder_heads, config.decoder_patch
        )
        tokens, code_width, side = config.tokens, config.code_width, config.image_size
        self.latent_tokens = small(tokens, config.width)
        self.encoder = Encoder(
            encoder, side // encoder.patch, tokens, code_width, config.reinterpreted
        )
        self.quantize = VectorQuantizer(config.codebook_size, code_width, unit=config.unit_codes)
        proxy_codes = config.proxy_codes
        self.decoder = Decoder(
            decoder, side // decoder.patch, tokens, code_width, proxy_codes, text
        )
        if proxy_codes:
            self.pixel_quantize = VectorQuantizer(proxy_codes, config.proxy_width)
            self.pixel_decoder = PixelDecoder(config.pixel_config)

    def encoded(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> vectors before the codebook (B, Z, L).

        Raises:
            ValueError: images of another size.
        """
        height, width = image_BCHW.shape[-2:]
        if (height, width) != self.image_size:
            side = self.config.image_size
            raise ValueError(
                f"an image of {width}x{height} pixels; this tokenizer takes {side}x{side} alone"
            )
        return self.encoder(image_BCHW.to(self.latent_tokens), self.latent_tokens)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, L).

        Raises:
            ValueError: images of another size.
        """
        return self.quantize.ids(self.encoded(image_BCHW)[:, :, None])[:, 0]

    def decode(self, ids_BL: Tensor) -> Tensor:
        """Ids (B, L), or (B, 1, L) -> images (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: another number of ids.
        """
        return self.unclipped(ids_BL).clamp(0, 1)

    def unclipped(self, ids_BL: Tensor, text_BTE: Tensor | None = None) -> Tensor:
        """As `decode`, before the values are clipped; ``text_BTE`` is for `TATiTok`."""
        ids_BL = ids_BL.flatten(1)
        if ids_BL.shape[1] != self.config.tokens:
            raise ValueError(f"{ids_BL.shape[1]} ids; this tokenizer has {self.config.tokens}")
        out_BCHW = self.decoder(self.quantize.values(ids_BL), text_BTE)
        if not self.config.proxy_codes:
            return out_BCHW
        codes_KD = self.pixel_quantize.embedding.weight
        expected_BHWD = out_BCHW.movedim(1, -1).softmax(-1) @ codes_KD
        return self.pixel_decoder(expected_BHWD.movedim(-1, 1))


class TATiTok(TiTok):
    """A `TiTok` whose decoder reads a text; see `demask.types.ReadsCondition`.

    The encoder does not read it, so the ids of an image do not depend on a text.
    """

    def __init__(self, config: TATiTokConfig) -> None:
        super().__init__(config, (config.text_length, config.text_width))
        self.text_BTE: Tensor | None = None

    def conditioned(self, condition: Condition) -> TATiTok:
        """This tokenizer with the texts of a batch, its tensor ``decoder_text`` (B, T, E)."""
        bound = copy.copy(self)  # the same weights
        bound.text_BTE = condition[DECODER_TEXT]
        return bound

    def decode(self, ids_BL: Tensor) -> Tensor:
        """As `TiTok.decode`.

        Raises:
            ValueError: another number of ids, or no texts.
        """
        if self.text_BTE is None:
            raise ValueError(
                "the decoder of this tokenizer reads a text beside the ids; a model of prompts "
                "gives it one"
            )
        return self.unclipped(ids_BL, self.text_BTE).clamp(0, 1)

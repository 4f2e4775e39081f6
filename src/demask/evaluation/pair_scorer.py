"""A small network that scores how well an image fits a text: two towers and their cosine.

The design is CLIP's (arXiv 2103.00020, section 2.3), small enough to be trained on one core. It
shares nothing with the text encoders of the models that it scores: it represents a word by its
character n-grams ("Enriching Word Vectors with Subword Information", arXiv 1607.04606, section
3.2), here called pieces.

Shape legend: B batch, C channels, D width of the features, E width of the text tower, G pieces of a
word, H W rows and columns, T words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORD = re.compile(r"[^\W_]+|[^\w\s]")
PIECES = (3, 4, 5)
"""The numbers of letters of a piece; the whole word with marked ends is one more piece."""
MOST_PIECES = 32
"""The most pieces of a word; further ones are ignored."""
FIRST_SCALE = 15.0
"""The factor on cosines at the start of the training; it is learned."""
LARGEST_SCALE = 100.0
"""The largest factor on cosines."""


@dataclass(frozen=True)
class PairScorerConfig:
    """The sizes of a `PairScorer`.

    Attributes:
        size: side of the images, in pixels.
        widths: channels of the stages of the image tower; each halves height and width.
        layout: channels of each position before the linear map of all positions.
        pieces: rows of the embedding of pieces; pieces are hashed to rows, so some share one.
        words: the most words of a text; further ones are ignored.
        text_width: E.
        text_layers: blocks of the text tower.
        text_heads: attention heads of a block.
        features: D.
    """

    size: int = 64
    widths: tuple[int, ...] = (32, 64, 104, 128)
    layout: int = 24
    pieces: int = 2048
    words: int = 14
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 2
    features: int = 128

    def __post_init__(self) -> None:
        if self.size % 2 ** len(self.widths):
            raise ValueError(f"size {self.size} is no multiple of {2 ** len(self.widths)}")
        if self.text_width % self.text_heads:
            raise ValueError(
                f"text_width {self.text_width} is no multiple of {self.text_heads} heads"
            )
        if self.pieces < 2:
            raise ValueError(f"pieces must be at least 2, not {self.pieces}")


class Stage(nn.Module):
    """A convolution of stride 2, then a residual pair of convolutions if ``residual``."""

    def __init__(self, channels_in: int, channels: int, kernel: int, residual: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels_in, channels, kernel, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pair = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
            )
            for _ in range(2 if residual else 0)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Halve height and width."""
        x_BCHW = F.relu(self.norm(self.down(x_BCHW)))
        if not self.pair:
            return x_BCHW
        return x_BCHW + F.relu(self.pair[1](F.relu(self.pair[0](x_BCHW))))


class ImageTower(nn.Module):
    """Convolutions, then one linear map of all positions, which keeps the layout of the image."""

    def __init__(self, config: PairScorerConfig) -> None:
        super().__init__()
        last = len(config.widths) - 1
        pairs = enumerate(zip((3, *config.widths), config.widths, strict=False))
        self.stages = nn.Sequential(
            *(Stage(before, width, 3 if n else 4, 0 < n < last) for n, (before, width) in pairs)
        )
        side = config.size // 2 ** len(config.widths)
        self.layout = nn.Conv2d(config.widths[-1], config.layout, 1)
        self.head = nn.Linear(config.layout * side * side, config.features)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> features (B, D) of length 1."""
        x_BCHW = (image_BCHW * 4 - 2).contiguous(memory_format=torch.channels_last)
        x_BCHW = self.layout(self.stages(x_BCHW)).contiguous()
        return F.normalize(self.head(x_BCHW.flatten(1)).float(), dim=-1)


class TextBlock(nn.Module):
    """Attention among the words of a text, then an MLP; each after a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x_BTE: Tensor, there_BT: Tensor) -> Tensor:
        """Same shape in and out; positions without a word are not attended to."""
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x_BTE)).chunk(3, -1)
        )
        seen = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=there_BT[:, None, None]
        )
        x_BTE = x_BTE + self.out(seen.transpose(1, 2).flatten(-2))
        return x_BTE + self.down(F.gelu(self.up(self.norm2(x_BTE))))


class TextTower(nn.Module):
    """The sum of each word's pieces, blocks over the words, then their mean."""

    def __init__(self, config: PairScorerConfig) -> None:
        super().__init__()
        width = config.text_width
        self.pieces = nn.Embedding(config.pieces, width, padding_idx=0)
        self.places = nn.Parameter(torch.zeros(config.words, width))
        self.blocks = nn.ModuleList(
            TextBlock(width, config.text_heads) for _ in range(config.text_layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, config.features)

    def forward(self, pieces_BTG: Tensor) -> Tensor:
        """Rows of pieces, 0 where there is none -> features (B, D) of length 1."""
        there_BTG = pieces_BTG > 0
        count_BT1 = there_BTG.sum(-1, keepdim=True)
        x_BTE = self.pieces(pieces_BTG).sum(2) / count_BT1.clamp_min(1).sqrt() + self.places
        # the first position of a text without words counts as a word
        there_BT = count_BT1[..., 0] > 0
        there_BT = there_BT | (torch.arange(there_BT.shape[1], device=there_BT.device) == 0)
        for block in self.blocks:
            x_BTE = block(x_BTE, there_BT)
        weight_BT1 = there_BT[..., None].to(x_BTE.dtype)
        mean_BE = (x_BTE * weight_BT1).sum(1) / weight_BT1.sum(1)
        return F.normalize(self.head(self.norm(mean_BE)).float(), dim=-1)


class PairScorer(nn.Module):
    """A tower for images, a tower for texts and the scale of their cosine.

    Args:
        config: the sizes.
    """

    def __init__(self, config: PairScorerConfig) -> None:
        super().__init__()
        self.config = config
        self.picture, self.text = ImageTower(config), TextTower(config)
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())

    def forward(self, image_BCHW: Tensor, pieces_BTG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of images and of texts, whose numbers may differ, and the scale of cosines."""
        scale = self.log_scale.exp().clamp_max(LARGEST_SCALE)
        return self.picture(image_BCHW), self.text(pieces_BTG), scale


def spell(texts: Sequence[str], config: PairScorerConfig) -> Tensor:
    """The embedding rows of the pieces of each text's words, (B, T, G) int64, padded with 0."""
    pieces_BTG = torch.zeros(len(texts), config.words, MOST_PIECES, dtype=torch.int64)
    for number, text in enumerate(texts):
        for place, word in enumerate(WORD.findall(text.casefold())[: config.words]):
            rows = rows_of(word, config.pieces)
            pieces_BTG[number, place, : len(rows)] = torch.tensor(rows)
    return pieces_BTG


@lru_cache(maxsize=65536)
def rows_of(word: str, count: int) -> tuple[int, ...]:
    """The rows of a word and its pieces, 1 to ``count`` - 1, the same on every machine."""
    marked = f"<{word}>"
    found = [f"{marked}{marked}"]  # doubled, so that the word does not equal one of its pieces
    found += [marked[i : i + n] for n in PIECES for i in range(len(marked) - n + 1)]
    return tuple(1 + zlib.crc32(p.encode()) % (count - 1) for p in found[:MOST_PIECES])

"""The transformer of MaskGIT-pytorch, version 1.0 (arXiv 2310.14400), class-conditional.

A pre-norm transformer over [class token, image tokens]. Ids of its vocabulary: codes 0..K-1, the
mask K, class c is K + 1 + c, and the last one is the dropped class. In the public file the class
token is the last one of the sequence. `demask.checkpoint.public_halton` maps the public keys.

Shape legend: B batch, L image tokens, S = L + 1 sequence, N any part of it, K codebook, D width, H
heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.class_conditional import ClassConditional
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import received
from demask.transformer.maskgit_layers import Attention
from demask.transformer.one_step import FromNoise
from demask.transformer.packed_linear import gelu
from demask.types import Grid

OUTER_EPS = 1e-12
"""Epsilon of the layer norms around the blocks; inside it is PyTorch's."""


@dataclass(frozen=True)
class MaskGITV1Config:
    """Sizes of a `MaskGITV1`; the defaults are those of the published models.

    Attributes:
        codebook_size: K, codes of the tokenizer.
        num_classes: classes; the id after them is the null class.
        grid: rows and columns of the image's tokens.
        width: D.
        depth: blocks.
        heads: attention heads; they divide ``width``.
        mlp_width: hidden channels of the MLP.
        dropout: on the attention weights and the MLP, in training.
    """

    codebook_size: int = 1024
    num_classes: int = 1000
    grid: Grid = (16, 16)
    width: int = 768
    depth: int = 24
    heads: int = 16
    mlp_width: int = 3072
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")

    @property
    def vocabulary(self) -> int:
        """V: the codes, the mask, the classes and the dropped class."""
        return self.codebook_size + self.num_classes + 2


class Outer(nn.Module):
    """Norm, linear, GELU, norm: before the blocks and after them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, OUTER_EPS)
        self.dense = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width, OUTER_EPS)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.out_norm(gelu(self.dense, self.norm(x_BND)))


class Block(nn.Module):
    """Attention and MLP with exact GELU, each on the norm of its input."""

    def __init__(self, config: MaskGITV1Config) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, config.dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)
        self.dropout = config.dropout

    def forward(
        self,
        x_BND: Tensor,
        around: Tensor | None = None,
        extra_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out."""
        normed_BND = hook.select_tokens(self.attention_norm(x_BND))
        key_value = self.attention.keys_values(normed_BND, hook.select_extra(extra_BND))
        x_BND = x_BND + hook.restore_tokens(self.attention(normed_BND, *key_value, hook))
        inside = gelu(self.up, hook.select_tokens(self.mlp_norm(x_BND)))
        mlp_out = self.down(F.dropout(inside, self.dropout, self.training))
        return x_BND + hook.restore_tokens(F.dropout(mlp_out, self.dropout, self.training))


class MaskGITV1(FromNoise, ClassConditional):
    """Partly masked ids + class -> logits; see `MaskGITV1Config`."""

    def __init__(self, config: MaskGITV1Config) -> None:
        super().__init__(config)
        self.config, self.prefix = config, 1
        tokens = config.grid[0] * config.grid[1]
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Parameter(torch.zeros(1, tokens + 1, config.width))
        self.first = Outer(config.width)
        self.first_out = nn.Linear(config.width, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last = Outer(config.width)
        self.bias = nn.Parameter(torch.zeros(tokens + 1, config.vocabulary))
        self.reset()

    def reset(self) -> None:
        """Initialise as BERT: matrices normal with deviation 0.02, biases 0."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.positions, std=0.02)

    def embedded(self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The first block's input (B, S, D): the class token, whose position is the last, first."""
        class_B1D = self.embed(class_ids_B + self.codebook_size + 1)[:, None]
        image_BLD = hooks.change_embeddings(self.embed(ids_BL)) + self.positions[:, :-1]
        x_BSD = torch.cat([class_B1D + self.positions[:, -1:], image_BLD], dim=1)
        return self.first_out(self.first(x_BSD))

    def head(self, x_BND: Tensor, position_BN: Tensor | None, columns: int | None) -> Tensor:
        """Logits; every position has its own bias."""
        columns = self.codebook_size + 1 if columns is None else columns
        bias = self.bias[:-1, :columns]
        bias = bias if position_BN is None else bias[position_BN]
        return F.linear(self.last(x_BND), self.embed.weight[:columns]) + bias

    def received(self, x_BSD: Tensor, around: Tensor | None) -> Tensor:
        """The attention that each token receives in the last block (B, S)."""
        block = self.blocks[-1]
        assert isinstance(block, Block)
        normed_BSD = block.attention_norm(x_BSD)
        layers = block.attention.query, block.attention.key
        query, key = (block.attention.split(layer(normed_BSD)) for layer in layers)
        return received(query, key)

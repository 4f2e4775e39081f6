"""Sizes and layers of `MaskGIT`; attribute names are the keys of the public state dict.

Shape legend: B batch, L image tokens, S = L + 1 sequence, N any part of it, K codebook, D width,
H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, BlockHook
from demask.transformer.packed_linear import gelu
from demask.types import Grid


@dataclass(frozen=True)
class MaskGITConfig:
    """Sizes of a `MaskGIT`.

    Attributes:
        codebook_size: K, codes of the tokenizer.
        num_classes: class tokens.
        grid: rows and columns of the image's tokens.
        width: D.
        depth: blocks.
        heads: attention heads; they divide ``width``.
        mlp_width: hidden channels of the MLP.
        dropout: after the embedding, the attention and the MLP, in training.
        attention_dropout: on the attention weights, in training.
        norm_eps: epsilon of every layer norm.
        tied: whether the output matrix is the word embedding, as in the original; the weights of
            the self-guidance authors store it separately.
    """

    codebook_size: int = 1024
    num_classes: int = 1000
    grid: Grid = (16, 16)
    width: int = 768
    depth: int = 24
    heads: int = 16
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    tied: bool = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")

    @property
    def vocabulary(self) -> int:
        """V: the codes, the classes and the mask."""
        return self.codebook_size + self.num_classes + 1

    @property
    def sequence(self) -> int:
        """S: the class token and the image tokens."""
        return self.grid[0] * self.grid[1] + 1

    @classmethod
    def imagenet_256(cls, *, tied: bool = False) -> MaskGITConfig:
        """The published ImageNet model for 256x256 pixels."""
        return cls(tied=tied)

    @classmethod
    def imagenet_512(cls, *, tied: bool = False) -> MaskGITConfig:
        """The published ImageNet model for 512x512 pixels."""
        return cls(grid=(32, 32), tied=tied)


class Embedding(nn.Module):
    """Word plus absolute position, normalised."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.position_embeddings = nn.Embedding(config.sequence, config.width)
        self.embeddings_ln = nn.LayerNorm(config.width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """The first block's input (B, S, D)."""
        words_BSD = self.word_embeddings(tokens_BS)
        return self.dropout(self.embeddings_ln(words_BSD + self.position_embeddings.weight))


class Attention(nn.Module):
    """Multi-head attention with separately computed keys and values.

    The projections are separate: fused ones were not faster at the published size.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x_BND: Tensor) -> Tensor:
        """The heads, (B, H, N, C)."""
        return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(
        self, x_BND: Tensor, extra_value_BND: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, N, C) of N tokens.

        Args:
            x_BND: the input.
            extra_value_BND: additional input of the values, which become V(x) + V(extra), with the
                bias of V counted twice (self-guidance, arXiv 2410.13136).
        """
        value_BND = self.value(x_BND)
        if extra_value_BND is not None:
            value_BND = value_BND + self.value(extra_value_BND)
        return self.split(self.key(x_BND)), self.split(value_BND)

    def forward(
        self, x_BND: Tensor, key_BHSC: Tensor, value_BHSC: Tensor, hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """The attention output of N tokens, (B, N, D)."""
        gathered_BHNC = hook.attend(
            self.split(self.query(x_BND)),
            key_BHSC,
            value_BHSC,
            self.dropout if self.training else 0.0,
        )
        return self.out(gathered_BHNC.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """MLP with exact GELU, then the block's second residual norm."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.intermediate_output = nn.Linear(config.width, config.mlp_width)
        self.layer_output = nn.Linear(config.mlp_width, config.width)
        self.layer_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BND: Tensor, hook: BlockHook = NO_HOOK) -> Tensor:
        """Same shape in and out."""
        mlp_out_BND = self.layer_output(gelu(self.intermediate_output, hook.select_tokens(x_BND)))
        return self.layer_norm(x_BND + self.dropout(hook.restore_tokens(mlp_out_BND)))


class Block(nn.Module):
    """Attention and MLP, each followed by its residual norm.

    `forward` is the attention's `keys_values`, then `update`; accelerators use the hook.
    """

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.attn_layer_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads, config.attention_dropout)
        self.ffn = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def update(
        self, x_BND: Tensor, key_BHSC: Tensor, value_BHSC: Tensor, hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """The block's output for N tokens that attend to the given keys and values."""
        gathered_BND = hook.restore_tokens(
            self.attention(hook.select_tokens(x_BND), key_BHSC, value_BHSC, hook)
        )
        return self.ffn(self.attn_layer_norm(x_BND + self.dropout(gathered_BND)), hook)

    def forward(
        self, x_BSD: Tensor, extra_value_BSD: Tensor | None = None, hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """Same shape in and out."""
        taken = hook.select_tokens(x_BSD), hook.select_extra(extra_value_BSD)
        return self.update(x_BSD, *self.attention.keys_values(*taken), hook)


class OutputMatrix(nn.Module):
    """The last linear layer; if tied, it has only a bias."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        shape = (config.vocabulary, config.width)
        self.weight = None if config.tied else nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))


class Head(nn.Module):
    """Hidden states -> logits over the codebook alone."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.codebook_size = config.codebook_size
        self.mlm_dense = nn.Linear(config.width, config.width)
        self.mlm_ln = nn.LayerNorm(config.width, config.norm_eps)
        self.to_logits = OutputMatrix(config)

    def forward(self, x_BLD: Tensor, words_VD: Tensor, vocabulary: bool = False) -> Tensor:
        """Logits (B, L, K), or (B, L, V); ``words_VD`` is the word embedding, where it is tied."""
        weight_VD = words_VD if self.to_logits.weight is None else self.to_logits.weight
        x_BLD = self.mlm_ln(gelu(self.mlm_dense, x_BLD))
        rows = None if vocabulary else self.codebook_size
        return F.linear(x_BLD, weight_VD[:rows], self.to_logits.bias[:rows])

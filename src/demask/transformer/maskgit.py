"""The published MaskGIT transformer (arXiv 2202.04200), under the names of its public weights.

A post-norm BERT over the sequence [class token, image tokens]. Ids: image codes 0..K-1, class c is
K + c, the mask is the last id. Attribute names are the keys of the public state dict.

Shape legend: B batch, L image tokens, S = L + 1 sequence, N any part of it, K codebook, D width,
H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import received
from demask.transformer.packed_linear import gelu
from demask.types import Condition, Grid, Prediction, Step


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

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)

    def split(self, x_BND: Tensor) -> Tensor:
        """The heads, (B, H, N, C)."""
        return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)

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

    `forward` is `keys_values`, then `update`; accelerators use the hook.
    """

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.attn_layer_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.ffn = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def keys_values(
        self, x_BND: Tensor, extra_value_BND: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, N, C) of N tokens.

        Args:
            x_BND: the block's input.
            extra_value_BND: additional input of the values, which become V(x) + V(extra), with the
                bias of V counted twice (self-guidance, arXiv 2410.13136).
        """
        attention = self.attention
        value_BND = attention.value(x_BND)
        if extra_value_BND is not None:
            value_BND = value_BND + attention.value(extra_value_BND)
        return attention.split(attention.key(x_BND)), attention.split(value_BND)

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
        return self.update(x_BSD, *self.keys_values(*taken), hook)


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


class MaskGIT(nn.Module):
    """Partly masked ids + class -> logits; see `MaskGITConfig`."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.mask_id = config.vocabulary - 1
        self.grid = config.grid
        self.resizable, self.grid_multiple = False, 1
        self.embed = Embedding(config)
        self.transformer_layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.mlm_layer = Head(config)
        self.reset()

    def reset(self) -> None:
        """Initialise as BERT: matrices normal with deviation 0.02, biases 0."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding, OutputMatrix)):
                if module.weight is not None:
                    nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                if not isinstance(module, nn.Embedding):
                    nn.init.zeros_(module.bias)

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks, first to last."""
        return list(self.transformer_layers)  # type: ignore[arg-type]

    def tokens(self, ids_BL: Tensor, class_ids_B: Tensor) -> Tensor:
        """The sequence of ids (B, S), class token first.

        Raises:
            ValueError: a number of tokens other than that of the learned positions.
        """
        if ids_BL.shape[1] != self.config.sequence - 1:
            rows, columns = self.grid
            raise ValueError(
                f"{ids_BL.shape[1]} tokens; this model's learned positions take exactly "
                f"{rows * columns} ({rows}x{columns})"
            )
        return torch.cat([class_ids_B[:, None] + self.codebook_size, ids_BL], dim=1)

    def states(
        self,
        tokens_BS: Tensor,
        extra_values: Sequence[Tensor] | None = None,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """The first block's input, then every block's output: depth + 1 tensors (B, S, D).

        Args:
            tokens_BS: any ids of the vocabulary, the class position included.
            extra_values: additional value input (B, S, D) per block; see `Block.keys_values`.
            hooks: hooks of an accelerator.
        """
        x_BSD = self.embed(tokens_BS)
        yield x_BSD
        x_BSD = hooks.select_input(x_BSD, prefix=1)
        for index, block in enumerate(self.transformer_layers):
            extra_BSD = None if extra_values is None else extra_values[index]
            hook = hooks(index, x_BSD[:, 1:], extra_BSD, self.grid)
            x_BSD = block(x_BSD, extra_BSD, hook)
            yield x_BSD

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The first block's input at the image positions (B, L, D)."""
        return self.embed(self.tokens(ids_BL, condition["class_ids"]))[:, 1:]

    def features(self, tokens_BS: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The last hidden states (B, S, D), class position included."""
        for state_BSD in self.states(tokens_BS, hooks=hooks):
            last_BSD = state_BSD
        return last_BSD

    def logits(self, features_BSD: Tensor) -> Tensor:
        """The head at the image positions, over the codebook: (B, L, K)."""
        return self.apply_head(features_BSD, self.grid)

    def forward(self, ids_BL: Tensor, class_ids_B: Tensor) -> Tensor:
        """Logits (B, L, K)."""
        return self.logits(self.features(self.tokens(ids_BL, class_ids_B)))

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; the condition holds ``class_ids`` (B) in [0, num_classes)."""
        features_BSD = self.features(self.tokens(ids_BL, condition["class_ids"]), hooks)
        return Prediction(self.logits(features_BSD), features_BSD)

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Prediction, Tensor]:
        """As `predict`; and the attention that tokens receive in the last block (B, L), mean 1."""
        tokens_BS = self.tokens(ids_BL, condition["class_ids"])
        before_BSD, last_BSD = deque(self.states(tokens_BS, hooks=hooks), maxlen=2)
        attention = self.blocks[-1].attention
        query_BHSC, key_BHSC = (
            attention.split(layer(before_BSD)) for layer in (attention.query, attention.key)
        )
        seen_BL = received(query_BHSC, key_BHSC)[:, 1:]
        return Prediction(self.logits(last_BSD), last_BSD), seen_BL / seen_BL.mean(-1, keepdim=True)

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module for it."""
        config = self.config
        return FeatureSelectionConfig(config.width, config.depth, config.num_classes)

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass (arXiv 2410.13136); see `feature_selection.Base`."""
        class_ids_B = condition["class_ids"]
        ids_BL = class_ids_B.new_full((len(class_ids_B), self.config.sequence - 1), self.mask_id)
        tokens_BS = self.tokens(ids_BL, class_ids_B)
        seen_BS = torch.full_like(tokens_BS, self.mask_id) if blank else tokens_BS
        return self.states(seen_BS, extra_values, hooks)

    def apply_head(self, features_BSD: Tensor, grid: Grid, *, vocabulary: bool = False) -> Tensor:
        """The head at the image positions: (B, L, K), or (B, L, V) of the whole vocabulary."""
        words_VD = self.embed.word_embeddings.weight
        return self.mlm_layer(features_BSD[:, 1:], words_VD, vocabulary)

"""The published MaskGIT transformer (arXiv 2202.04200), under the names of its public weights.

A post-norm BERT over the sequence [class token, image tokens]. Ids: image codes 0..K-1, class c is
K + c, the mask is the last id. Attribute names are the keys of the public state dict.

Shape legend: B batch, L image tokens, S = L + 1 sequence, K codebook, D width, H heads, C channels
of a head, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOKS, PassHooks
from demask.transformer.layers import received
from demask.transformer.maskgit_layers import Block, Embedding, Head, MaskGITConfig, OutputMatrix
from demask.types import Condition, Grid, Prediction, Step, TokenLayout

__all__ = ["MaskGIT", "MaskGITConfig"]


class MaskGIT(nn.Module):
    """Partly masked ids + class -> logits; see `MaskGITConfig`."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.codebook_size
        self.mask_id = config.vocabulary - 1
        self.layout = TokenLayout(config.grid)
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
            rows, columns = self.config.grid
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
            extra_values: additional value input (B, S, D) per block; see `Attention.keys_values`.
            hooks: hooks of an accelerator.
        """
        x_BSD = self.embed(tokens_BS)
        yield x_BSD
        x_BSD = hooks.select_input(x_BSD, prefix=1)
        for index, block in enumerate(self.transformer_layers):
            extra_BSD = None if extra_values is None else extra_values[index]
            hook = hooks(index, x_BSD[:, 1:], extra_BSD, self.config.grid)
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
        return self.apply_head(features_BSD, self.layout)

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

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head at the image positions: (B, L, K), or (B, L, V) of the whole vocabulary."""
        words_VD = self.embed.word_embeddings.weight
        return self.mlm_layer(features_BSD[:, 1:], words_VD, vocabulary)

"""ImageBert, the transformer of TiTok's L-32 and B-64 (arXiv 2406.07550).

MaskGIT's post-norm BERT over a row of tokens, without a transform before its output matrix.
Ids: image codes 0..K-1, the mask K, class c is K + 1 + c, no class K + 1 + C.

Shape legend: B batch, L image tokens, S = L + 1 sequence, K codebook, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demask.transformer.maskgit import MaskGIT
from demask.transformer.maskgit_layers import MaskGITConfig
from demask.types import Condition, Grid, Step, TokenLayout


@dataclass(frozen=True)
class ImageBertConfig(MaskGITConfig):
    """Sizes of an `ImageBert`: those of a MaskGIT whose ``grid`` is one row of L tokens."""

    codebook_size: int = 4096
    grid: Grid = (1, 32)

    @property
    def vocabulary(self) -> int:
        """The codes, the mask, the classes and no class."""
        return self.codebook_size + self.num_classes + 2


class ImageBert(MaskGIT):
    """Partly masked ids + class -> logits; see `ImageBertConfig`."""

    def __init__(self, config: ImageBertConfig) -> None:
        super().__init__(config)
        self.mask_id = config.codebook_size
        self.layout = TokenLayout((config.sequence - 1,))
        del self.mlm_layer
        self.lm_head = nn.Linear(config.width, config.codebook_size)

    def tokens(self, ids_BL: Tensor, class_ids_B: Tensor) -> Tensor:
        """As `MaskGIT.tokens`; the class ``num_classes`` is no class."""
        return super().tokens(ids_BL, class_ids_B + 1)

    def unconditional(self) -> Condition:
        """The condition of no class, a batch of 1."""
        device = self.lm_head.weight.device
        return Condition({"class_ids": torch.tensor([self.config.num_classes], device=device)})

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The output matrix at the image positions: (B, L, K)."""
        return self.lm_head(features_BSD[:, 1:])

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        return self.features(self.tokens(ids_BL, condition["class_ids"]))[:, 1:]

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix: logits (B, L, K), an affine map."""
        return self.lm_head(pre_logits_BLD)

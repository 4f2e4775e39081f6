"""MaskBit's transformer (arXiv 2409.16211, section 3.3), class-conditional, over groups of bits.

An id of b bits is split into S parts of b / S bits, and each part is masked and predicted by
itself. A position is embedded by its bits as +-1, the bits of masked parts as 0, so that it can be
known in part. `demask.checkpoint.public_maskbit` maps the public keys.

Shape legend: B batch, P positions of the image, L = P S tokens, N any part of the sequence, K codes
of a part, X bits, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.class_conditional import ClassConditional
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import initialise_as_bert, received
from demask.transformer.maskgit_layers import Attention
from demask.transformer.packed_linear import gelu
from demask.types import Grid

EPS = 1e-12


@dataclass(frozen=True)
class MaskBitConfig:
    """Sizes of a `MaskBit`; the defaults are those of the published 10-bit model.

    Attributes:
        bits: b, bits of an id of the tokenizer.
        splits: S, parts of an id; they divide ``bits``.
        num_classes: classes; the id after them is the null class.
        grid: rows and columns of the image's positions.
        width: D.
        depth: blocks.
        heads: attention heads; they divide ``width``.
        mlp_width: hidden channels of the MLP.
        dropout: in the blocks, in training.
    """

    bits: int = 10
    splits: int = 2
    num_classes: int = 1000
    grid: Grid = (16, 16)
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_width: int = 4096
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.splits < 1 or self.bits < 1 or self.bits % self.splits:
            raise ValueError(f"{self.bits} bits do not split into {self.splits} equal parts")
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")

    @property
    def codebook_size(self) -> int:
        """K, the codes of a part."""
        return 1 << (self.bits // self.splits)


class Block(nn.Module):
    """Attention and MLP with exact GELU, each followed by the norm of the residual sum."""

    def __init__(self, config: MaskBitConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads, config.dropout)
        self.attention_norm = nn.LayerNorm(width, EPS)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)
        self.mlp_norm = nn.LayerNorm(width, EPS)
        self.dropout = config.dropout

    def forward(
        self,
        x_BND: Tensor,
        around: Tensor | None = None,
        extra_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out; ``extra_BND`` is a second input of the values alone."""
        selected_BND, extra_BND = hook.select_tokens(x_BND), hook.select_extra(extra_BND)
        key_value = self.attention.keys_values(selected_BND, extra_BND)
        attended_BND = hook.restore_tokens(self.attention(selected_BND, *key_value, hook))
        x_BND = self.attention_norm(x_BND + self.dropped(attended_BND))
        mlp_out_BND = self.down(self.dropped(gelu(self.up, hook.select_tokens(x_BND))))
        return self.mlp_norm(x_BND + self.dropped(hook.restore_tokens(mlp_out_BND)))

    def dropped(self, x_BND: Tensor) -> Tensor:
        """Dropout, in training."""
        return F.dropout(x_BND, self.dropout, self.training)


class MaskBit(ClassConditional):
    """Partly masked parts + class -> logits of the parts (B, L, K); see `MaskBitConfig`.

    The L tokens are the parts of the positions, row by row, the lowest bits of each position first.
    """

    def __init__(self, config: MaskBitConfig) -> None:
        super().__init__(config, config.splits)
        self.config, self.prefix = config, 1
        width, positions = config.width, self.layout.positions
        self.embed = nn.Linear(config.bits, width)
        self.embed_class = nn.Embedding(config.num_classes + 1, width)
        self.positions = nn.Parameter(torch.zeros(1, positions + 1, width))
        self.norm = nn.LayerNorm(width, EPS)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.dense = nn.Linear(width, width)
        self.dense_norm = nn.LayerNorm(width, EPS)
        self.output = nn.Linear(width, config.splits * config.codebook_size)
        self.reset()

    def reset(self) -> None:
        """Initialise as BERT: matrices normal with deviation 0.02, biases 0."""
        initialise_as_bert(self)
        nn.init.trunc_normal_(self.positions, std=0.02, a=-0.04, b=0.04)

    def signs(self, ids_BL: Tensor) -> Tensor:
        """The bits of the positions (B, P, b): -1 and 1, and 0 in masked parts."""
        shift = torch.arange(self.config.bits // self.config.splits, device=ids_BL.device)
        bits_BLX = (ids_BL[..., None] >> shift) & 1
        signs_BLX = (2 * bits_BLX - 1).masked_fill((ids_BL == self.mask_id)[..., None], 0)
        return signs_BLX.unflatten(1, (-1, self.layout.parts)).flatten(2)

    def embedded(self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The first block's input (B, S, D): the class, whose position is the last, first."""
        signs_BPX = self.signs(ids_BL).to(self.positions.dtype)
        class_B1D = self.embed_class(class_ids_B)[:, None] + self.positions[:, -1:]
        image_BPD = hooks.change_embeddings(self.embed(signs_BPX)) + self.positions[:, :-1]
        return self.norm(torch.cat([class_B1D, image_BPD], dim=1))

    def head(self, x_BND: Tensor, position_BN: Tensor | None, columns: int | None) -> Tensor:
        """Logits (B, N S, K): a softmax over each part, never over the whole id."""
        hidden_BND = self.dense_norm(gelu(self.dense, x_BND))
        return self.output(hidden_BND).unflatten(-1, (self.layout.parts, -1)).flatten(1, 2)

    def received(self, x_BSD: Tensor, around: Tensor | None) -> Tensor:
        """The attention that each position receives in the last block (B, S)."""
        attention = self.blocks[-1].attention
        assert isinstance(attention, Attention)
        query, key = (attention.split(layer(x_BSD)) for layer in (attention.query, attention.key))
        return received(query, key)

"""UViT, the transformer of TiTok's S-128: U-ViT (arXiv 2209.12152) on tokens (arXiv 2406.07550).

The outputs of the first half of the blocks are joined to the inputs of the second half. The state
dict has the public checkpoints' keys. Ids: image codes 0..K-1, the mask K, class c is K + 1 + c, no
class K + 1 + C.

Shape legend: B batch, L image tokens, S = L + 1 sequence, N any part of it, K codebook, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import initialise_as_bert
from demask.transformer.packed_linear import gelu
from demask.types import Condition, Prediction, Step, TokenLayout


@dataclass(frozen=True)
class UViTConfig:
    """Sizes of a `UViT`; the defaults are those of the published S-128.

    Attributes:
        codebook_size: K.
        num_classes: classes; the id ``num_classes`` is no class.
        tokens: L.
        width: D.
        depth: blocks beside the middle one, half of them on each side; even.
        heads: attention heads.
        mlp_width: hidden channels of the MLPs.
    """

    codebook_size: int = 4096
    num_classes: int = 1000
    tokens: int = 128
    width: int = 1024
    depth: int = 20
    heads: int = 16
    mlp_width: int = 4096

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of {self.heads} heads")
        if self.depth % 2:
            raise ValueError(f"depth {self.depth} must be even: half of the blocks on each side")


class Attention(nn.Module):
    """Multi-head attention; queries, keys and values are one matrix without bias."""

    def __init__(self, config: UViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x_BND: Tensor, hook: BlockHook = NO_HOOK) -> Tensor:
        """Same shape in and out."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x_BND).chunk(3, dim=-1)
        )
        return self.proj(hook.attend(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm block; with ``joins``, it first joins a stored output to its input."""

    def __init__(self, config: UViTConfig, *, joins: bool = False) -> None:
        super().__init__()
        width = config.width
        self.skip_linear = nn.Linear(2 * width, width) if joins else None
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, config.mlp_width), "fc2": nn.Linear(config.mlp_width, width)}
        )

    def forward(
        self, x_BND: Tensor, stored_BND: Tensor | None = None, hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """Same shape in and out."""
        if self.skip_linear is not None:
            assert stored_BND is not None
            x_BND = self.skip_linear(torch.cat([x_BND, stored_BND], dim=-1))
        taken_BND = self.attn(hook.select_tokens(self.norm1(x_BND)), hook)
        x_BND = x_BND + hook.restore_tokens(taken_BND)
        mlp_out_BND = gelu(self.mlp["fc1"], hook.select_tokens(self.norm2(x_BND)))
        return x_BND + hook.restore_tokens(self.mlp["fc2"](mlp_out_BND))


class UViT(nn.Module):
    """Partly masked ids + class -> logits; see `UViTConfig`."""

    def __init__(self, config: UViTConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = self.mask_id = config.codebook_size
        self.layout = TokenLayout((config.tokens,))
        self.resizable, self.grid_multiple = False, 1
        self.embeddings = nn.Embedding(config.codebook_size + config.num_classes + 2, config.width)
        self.pos_embed = nn.Parameter(torch.empty(1, config.tokens + 1, config.width))
        half = config.depth // 2
        self.in_blocks = nn.ModuleList(Block(config) for _ in range(half))
        self.mid_block = Block(config)
        self.out_blocks = nn.ModuleList(Block(config, joins=True) for _ in range(half))
        self.norm = nn.LayerNorm(config.width)
        self.lm_head = nn.Linear(config.width, config.codebook_size)
        self.reset()

    def reset(self) -> None:
        """Initialise: matrices normal with deviation 0.02, biases 0."""
        nn.init.normal_(self.pos_embed, std=0.02)
        initialise_as_bert(self)

    def embed(self, ids_BL: Tensor, class_ids_B: Tensor) -> Tensor:
        """The first block's input (B, S, D), class token first.

        Raises:
            ValueError: another number of tokens than in training.
        """
        if ids_BL.shape[1] != self.config.tokens:
            raise ValueError(f"{ids_BL.shape[1]} tokens; this model takes {self.config.tokens}")
        tokens_BS = torch.cat([class_ids_B[:, None] + self.codebook_size + 1, ids_BL], dim=1)
        return self.embeddings(tokens_BS) + self.pos_embed

    def states(
        self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS
    ) -> Iterator[Tensor]:
        """The first block's input, then every block's output (B, S, D)."""
        x_BND = self.embed(ids_BL, class_ids_B)
        yield x_BND
        x_BND = hooks.select_input(x_BND, prefix=1)
        stored: list[Tensor] = []
        blocks = [*self.in_blocks, self.mid_block, *self.out_blocks]
        for index, block in enumerate(blocks):
            hook = hooks(index, x_BND[:, 1:], None, (1, self.config.tokens))
            joined_BND = stored.pop() if index > len(self.in_blocks) else None
            x_BND = block(x_BND, joined_BND, hook)
            if index < len(self.in_blocks):
                stored.append(x_BND)
            yield x_BND

    def features(self, ids_BL: Tensor, condition: Condition, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The last hidden states (B, S, D), class position included."""
        for state_BND in self.states(ids_BL, condition["class_ids"], hooks):
            last_BND = state_BND
        return last_BND

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; the condition holds ``class_ids`` (B), ``num_classes`` for no class."""
        features_BND = self.features(ids_BL, condition, hooks)
        return Prediction(self.apply_head(features_BND, self.layout), features_BND)

    def apply_head(
        self, features_BSD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head at the image positions: logits (B, L, K)."""
        return self.lm_head(self.norm(features_BSD[:, 1:]))

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        return self.norm(self.features(ids_BL, condition)[:, 1:])

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix: logits (B, L, K), an affine map."""
        return self.lm_head(pre_logits_BLD)

    def unconditional(self) -> Condition:
        """The condition of no class, a batch of 1."""
        device = self.lm_head.weight.device
        return Condition({"class_ids": torch.tensor([self.config.num_classes], device=device)})

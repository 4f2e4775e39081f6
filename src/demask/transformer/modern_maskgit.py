"""Our own small MaskGIT, for training from scratch.

Pre-norm, normalised queries and keys, SwiGLU, 2-D rotary positions, and class conditioning by
adaptive layer norm with one shared projection (AdaLN-single, arXiv 2310.00426).

Shape legend: B batch, L tokens, N those that a block computes, V codebook, D width.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import Attention, GatedMLP, rotary_2d
from demask.transformer.norm import RMSNorm
from demask.types import Condition, Grid, Prediction, Step, TokenLayout


@dataclass(frozen=True)
class ModernMaskGITConfig:
    """Sizes of a `ModernMaskGIT`.

    Attributes:
        codebook_size: codes of the tokenizer.
        num_classes: number of classes; the id ``num_classes`` is the null class.
        grid: rows and columns in training.
        width: D.
        depth: blocks.
        heads: attention heads; ``width / heads`` is a multiple of 4.
        mlp_width: hidden channels of the gated MLP.
        dropout: on the residual branches, in training.
    """

    codebook_size: int
    num_classes: int
    grid: Grid = (8, 8)
    width: int = 256
    depth: int = 8
    heads: int = 4
    mlp_width: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 4 x {self.heads} heads")


class Block(nn.Module):
    """Attention and MLP with shift, scale and gate from the condition."""

    def __init__(self, config: ModernMaskGITConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(config.width, config.heads)
        self.mlp_norm = RMSNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.mlp = GatedMLP(config.width, config.mlp_width)
        self.modulation = nn.Parameter(torch.zeros(6, config.width))
        self.dropout = config.dropout

    def forward(
        self,
        x_BLD: Tensor,
        shared_B6D: Tensor,
        rotary: Tensor,
        extra_value_BLD: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out."""
        modulation = (shared_B6D + self.modulation)[:, :, None].unbind(1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        attended_BND = self.attention(
            hook.select_tokens(self.attention_norm(x_BLD) * (1 + scale_a) + shift_a),
            hook.select_rotary(rotary),
            hook.select_extra(extra_value_BLD),
            hook,
        )
        attended_BLD = hook.restore_tokens(attended_BND)
        x_BLD = x_BLD + gate_a * F.dropout(attended_BLD, self.dropout, self.training)
        selected_BND = hook.select_tokens(self.mlp_norm(x_BLD) * (1 + scale_m) + shift_m)
        mlp_out_BLD = hook.restore_tokens(self.mlp(selected_BND))
        return x_BLD + gate_m * F.dropout(mlp_out_BLD, self.dropout, self.training)

    def received(self, x_BLD: Tensor, shared_B6D: Tensor, rotary: Tensor) -> Tensor:
        """How much attention each token gets (B, L), 1 on average."""
        shift_a, scale_a = (shared_B6D + self.modulation)[:, :2, None].unbind(1)
        return self.attention.received(self.attention_norm(x_BLD) * (1 + scale_a) + shift_a, rotary)


class ModernMaskGIT(nn.Module):
    """Partly masked ids + class -> logits; see `ModernMaskGITConfig`."""

    def __init__(self, config: ModernMaskGITConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = self.mask_id = config.codebook_size
        self.layout = TokenLayout(config.grid)
        self.resizable, self.grid_multiple = True, 1
        self.null_class = config.num_classes
        self.embed = nn.Embedding(config.codebook_size + 1, config.width)
        self.embed_class = nn.Embedding(config.num_classes + 1, config.width)
        self.modulate = nn.Linear(config.width, 6 * config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, config.codebook_size)
        self.reset()

    def reset(self) -> None:
        """Initialise; see `start_small`."""
        start_small(self)

    def forward(self, ids_BL: Tensor, class_ids_B: Tensor, grid: Grid | None = None) -> Tensor:
        """Logits (B, L, V)."""
        return self.head(self.norm(self.features(ids_BL, class_ids_B, grid or self.config.grid)))

    def features(
        self, ids_BL: Tensor, class_ids_B: Tensor, grid: Grid, hooks: PassHooks = NO_HOOKS
    ) -> Tensor:
        """The last hidden states (B, L, D)."""
        for state_BLD in self.states(ids_BL, class_ids_B, grid, hooks=hooks):
            last_BLD = state_BLD
        return last_BLD

    def states(
        self,
        ids_BL: Tensor,
        class_ids_B: Tensor,
        grid: Grid,
        extra_values: Sequence[Tensor] | None = None,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """The first block's input, then every block's output (B, L, D).

        ``extra_values`` are additional inputs (B, L, D) of the blocks' values.
        """
        x_BLD = self.embed(ids_BL)
        shared_B6D, rotary = self.surroundings(class_ids_B, grid)
        yield x_BLD
        x_BLD = hooks.select_input(x_BLD)
        for index, block in enumerate(self.blocks):
            extra_BLD = None if extra_values is None else extra_values[index]
            hook = hooks(index, x_BLD, extra_BLD, grid)
            x_BLD = block(x_BLD, shared_B6D, rotary, extra_BLD, hook)
            yield x_BLD

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The first block's input (B, L, D)."""
        return self.embed(ids_BL)

    def surroundings(self, class_ids_B: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Inputs of every block: the class modulation (B, 6, D) and the rotary tables."""
        shared_B6D = self.modulate(F.silu(self.embed_class(class_ids_B))).unflatten(-1, (6, -1))
        head_width = self.config.width // self.config.heads
        return shared_B6D, rotary_2d(grid, head_width, class_ids_B.device)

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; the condition holds ``class_ids`` (B), ``null_class`` for no class."""
        features_BLD = self.features(ids_BL, condition["class_ids"], step.layout.grid, hooks)
        return Prediction(self.head(self.norm(features_BLD)), features_BLD)

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        return self.norm(self.features(ids_BL, condition["class_ids"], step.layout.grid))

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix: logits (B, L, V), an affine map."""
        return self.head(pre_logits_BLD)

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Prediction, Tensor]:
        """As `predict`, with the attention that tokens receive in the last block.

        Returns:
            The prediction, and the attention that tokens receive (B, L), 1 on average.
        """
        class_ids_B = condition["class_ids"]
        states = self.states(ids_BL, class_ids_B, step.layout.grid, hooks=hooks)
        before_BLD, last_BLD = deque(states, maxlen=2)
        block = self.blocks[-1]
        assert isinstance(block, Block)
        attention_BL = block.received(before_BLD, *self.surroundings(class_ids_B, step.layout.grid))
        return Prediction(self.head(self.norm(last_BLD)), last_BLD), attention_BL

    def unconditional(self) -> Condition:
        """The null condition, a batch of 1, as trained by class dropout."""
        device = self.embed.weight.device
        return Condition({"class_ids": torch.tensor([self.null_class], device=device)})

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module for it; it has a null class, too."""
        config = self.config
        return FeatureSelectionConfig(config.width, config.depth, config.num_classes + 1, norm=True)

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass (arXiv 2410.13136); see `feature_selection.Base`.

        The published network masks its class token; this one uses the null class.
        """
        class_ids_B = condition["class_ids"]
        shape = (len(class_ids_B), step.layout.tokens)
        ids_BL = class_ids_B.new_full(shape, self.mask_id)
        told_B = torch.full_like(class_ids_B, self.null_class) if blank else class_ids_B
        return self.states(ids_BL, told_B, step.layout.grid, extra_values, hooks)

    def apply_head(
        self, features_BLD: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head: logits (B, L, V)."""
        return self.head(self.norm(features_BLD))


def start_small(network: nn.Module) -> None:
    """Initialise: small embeddings and residual branches, and a zero head.

    Args:
        network: has the embeddings, blocks and head of a `ModernMaskGIT`, under the same names.
    """
    parts: Any = network
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
    nn.init.normal_(parts.embed.weight, std=0.5)
    nn.init.normal_(parts.embed_class.weight, std=0.5)
    nn.init.normal_(parts.modulate.weight, std=0.02)
    nn.init.zeros_(parts.modulate.bias)
    nn.init.zeros_(parts.head.weight)
    nn.init.zeros_(parts.head.bias)
    for block in parts.blocks:
        with torch.no_grad():
            # small gates, so that every branch contributes from the start
            block.modulation[2] = block.modulation[5] = 1 / math.sqrt(2 * len(parts.blocks))

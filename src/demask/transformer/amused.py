"""aMUSEd: text to image by a U-ViT that reads no time (arXiv 2401.01808).

Convolutions with attention to the text stand before and after the transformer layers. There is no
position embedding: the place of a token enters by the zero padding of the convolutions alone, so
that every grid can be computed. The state dict has the public checkpoints' keys, so the attributes
carry their names.

Shape legend: B batch, L ids, H W rows and columns of ids, N tokens of the transformer layers (2x2
ids are one token with downsampling), M of them that a pass computes, T text tokens, D width, C
channels of the outer blocks, V codebook, E text width, P pooled width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.amused_layers import EPS, OuterBlock, TransformerLayer
from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOKS, PassHooks
from demask.transformer.meissonic import MICRO
from demask.transformer.meissonic_layers import (
    MLP,
    Embed,
    Head,
    check_even,
    sinusoid,
    without_text,
)
from demask.transformer.norm import RMSNorm
from demask.types import Condition, Grid, Prediction, Step, TokenLayout


@dataclass(frozen=True)
class AmusedConfig:
    """Sizes of an `Amused`; the defaults are the published 256 model's.

    Attributes:
        codebook_size: codes of the tokenizer.
        vocabulary: rows of the embedding; the last one is the mask.
        width: D.
        depth: transformer layers.
        heads: their attention heads.
        mlp_width: hidden channels of their gated MLPs.
        embed_width: of the ids' embedding.
        channels: C.
        channel_heads: attention heads of the outer blocks.
        res_blocks: residual blocks in each outer block.
        text_width: E, of the text states.
        pooled_width: P, of the pooled text.
        micro_width: channels of the sinusoid of each micro-condition.
        compress: 2x2 ids to a token of the transformer layers, as in the 512 model.
        grid: rows and columns of ids in training; others are allowed.
    """

    codebook_size: int = 8192
    vocabulary: int = 8256
    width: int = 1024
    depth: int = 22
    heads: int = 16
    mlp_width: int = 2816
    embed_width: int = 768
    channels: int = 768
    channel_heads: int = 12
    res_blocks: int = 3
    text_width: int = 768
    pooled_width: int = 768
    micro_width: int = 256
    compress: bool = False
    grid: Grid = field(default=(16, 16))

    def __post_init__(self) -> None:
        for what, size, heads in (
            ("width", self.width, self.heads),
            ("channels", self.channels, self.channel_heads),
        ):
            if size % heads:
                raise ValueError(f"{what} {size} must be a multiple of {heads} heads")
        if self.vocabulary <= self.codebook_size:
            raise ValueError("the vocabulary needs a mask id beyond the codebook")
        check_even(self.grid, self.compress)


class Amused(nn.Module):
    """Partly masked ids + text -> logits; see `AmusedConfig`."""

    def __init__(self, config: AmusedConfig) -> None:
        super().__init__()
        width, channels = config.width, config.channels
        self.config = config
        self.codebook_size, self.mask_id = config.codebook_size, config.vocabulary - 1
        self.layout = TokenLayout(config.grid)
        self.resizable, self.grid_multiple = True, 2 if config.compress else 1
        self.encoder_proj = nn.Linear(config.text_width, width, bias=False)
        self.encoder_proj_layer_norm = RMSNorm(width, eps=EPS)
        self.embed = Embed(config.vocabulary, config.embed_width, channels)
        micro_width = config.micro_width * MICRO
        self.cond_embed = MLP(config.pooled_width + micro_width, width, bias=False)
        sizes = channels, config.channel_heads, width, config.res_blocks
        self.down_block = OuterBlock(*sizes, down=config.compress)
        self.project_to_hidden_norm = RMSNorm(channels, eps=EPS)
        self.project_to_hidden = nn.Linear(channels, width, bias=False)
        self.transformer_layers = nn.ModuleList(
            TransformerLayer(width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.project_from_hidden_norm = RMSNorm(width, eps=EPS)
        self.project_from_hidden = nn.Linear(width, channels, bias=False)
        self.up_block = OuterBlock(*sizes, up=config.compress)
        self.mlm_layer = Head(channels, config.codebook_size, config.embed_width)
        self.reset()

    def reset(self) -> None:
        """Initialise for training: matrices by their inputs, embeddings of unit size."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
        nn.init.normal_(self.embed.embeddings.weight)
        nn.init.zeros_(self.mlm_layer.conv2.weight)

    def context(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The text (B, T, D) and the activated condition (B, D), the same in every step."""
        dtype = self.encoder_proj.weight.dtype
        text_BTD = self.encoder_proj_layer_norm(self.encoder_proj(condition["states"].to(dtype)))
        micro_BX = sinusoid(condition["micro"], self.config.micro_width).flatten(1)
        told_BX = torch.cat([condition["pooled"].to(dtype), micro_BX.to(dtype)], dim=-1)
        return text_BTD, F.silu(self.cond_embed(told_BX))

    def tokens(self, grid: Grid) -> Grid:
        """Rows and columns of the tokens of the transformer layers.

        Raises:
            ValueError: a grid that downsampling cannot halve.
        """
        check_even(grid, self.config.compress)
        return grid[0] // self.grid_multiple, grid[1] // self.grid_multiple

    def states(
        self,
        ids_BL: Tensor,
        context: tuple[Tensor, Tensor],
        grid: Grid,
        extra_values: Sequence[Tensor] | None = None,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """The first transformer layer's input, then every layer's output (B, M, D).

        Args:
            ids_BL: ids, in row-major order.
            context: see `context`.
            grid: rows and columns of the ids.
            extra_values: additional inputs of the layers' values (B, N, D).
            hooks: of an accelerator; the outer blocks, which mix all tokens, have none.
        """
        tokens = self.tokens(grid)
        x_BND = self.enter(ids_BL, context, grid)
        yield x_BND
        x_BND = hooks.select_input(x_BND)
        for index, layer in enumerate(self.transformer_layers):
            extra_BND = None if extra_values is None else extra_values[index]
            hook = hooks(index, x_BND, extra_BND, tokens)
            x_BND = layer(x_BND, *context, extra_BND, hook)
            yield x_BND

    def enter(self, ids_BL: Tensor, context: tuple[Tensor, Tensor], grid: Grid) -> Tensor:
        """Everything before the transformer layers: their input (B, N, D)."""
        x_BNC = self.embed(ids_BL)
        if self.config.compress:
            x_BNC = self.down_block.downsample(x_BNC, grid)
        x_BNC = self.down_block(x_BNC, *context, self.tokens(grid))
        return self.project_to_hidden(self.project_to_hidden_norm(x_BNC))

    def leave(
        self,
        features_BMD: Tensor,
        context: tuple[Tensor, Tensor],
        grid: Grid,
        hooks: PassHooks = NO_HOOKS,
    ) -> Tensor:
        """Everything after the transformer layers but the output matrix.

        The convolutions and their norms read all tokens, the last known states of those that the
        pass does not compute included.

        Returns:
            The input of the output matrix, of the ids that the pass computes.
        """
        x_BND = hooks.restore_output(features_BMD)
        x_BNC = self.project_from_hidden(self.project_from_hidden_norm(x_BND))
        x_BNC = self.up_block(x_BNC, *context, self.tokens(grid))
        if self.config.compress:
            x_BNC = self.up_block.upsample(x_BNC, grid)
        return self.mlm_layer.project(hooks.select_output(x_BNC, grid))

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix, a linear map: logits (B, L, V)."""
        return self.mlm_layer.to_logits(pre_logits_BLD)

    def passed(
        self, ids_BL: Tensor, condition: Condition, grid: Grid, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Tensor, Tensor]:
        """One pass: the last hidden states of the transformer layers, and `leave` of them."""
        context = self.context(condition)
        for state_BMD in self.states(ids_BL, context, grid, hooks=hooks):
            features_BMD = state_BMD
        return features_BMD, self.leave(features_BMD, context, grid, hooks)

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        return self.passed(ids_BL, condition, step.layout.grid)[1]

    def forward(
        self,
        ids_BL: Tensor,
        condition: Condition,
        time_B: Tensor | None = None,
        grid: Grid | None = None,
    ) -> Tensor:
        """Logits (B, L, V).

        Args:
            ids_BL: in row-major order; masked ones hold ``mask_id``.
            condition: ``states`` (B, T, E), ``pooled`` (B, P) and ``micro`` (B, 5).
            time_B: not read; models of prompts are called with it.
            grid: rows and columns of the ids; by default those of the training.
        """
        return self.to_logits(self.passed(ids_BL, condition, grid or self.config.grid)[1])

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; `forward` describes the condition."""
        features_BMD, pre_logits_BLD = self.passed(ids_BL, condition, step.layout.grid, hooks)
        return Prediction(self.to_logits(pre_logits_BLD), features_BMD)

    def embed_tokens(self, ids_BL: Tensor, condition: Condition, grid: Grid) -> Tensor:
        """The input of the first transformer layer (B, N, D)."""
        return self.enter(ids_BL, self.context(condition), grid)

    def apply_conditioned_head(
        self,
        features_BND: Tensor,
        condition: Condition,
        layout: TokenLayout,
        *,
        blank: bool = False,
    ) -> Tensor:
        """Everything after the transformer layers: logits (B, L, V)."""
        condition = without_text(condition) if blank else condition
        return self.to_logits(self.leave(features_BND, self.context(condition), layout.grid))

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module; as in Meissonic, its second pass keeps the text."""
        config = self.config
        return FeatureSelectionConfig(
            config.width,
            config.depth,
            num_classes=0,
            pooled_width=config.pooled_width,
            blank_condition=False,
            norm=True,
        )

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """Self-guidance's smoothed pass (arXiv 2410.13136); see `feature_selection.Base`.

        The selected features are added to the values of self-attention. A blank condition is a
        text of zeros.
        """
        shape = (len(condition), step.layout.tokens)
        device = self.embed.embeddings.weight.device
        ids_BL = torch.full(shape, self.mask_id, device=device)
        condition = without_text(condition) if blank else condition
        return self.states(ids_BL, self.context(condition), step.layout.grid, extra_values, hooks)

"""Meissonic: text to image with multi-modal and single-stream blocks (arXiv 2410.08261).

The state dict has the public checkpoints' keys, so the attributes carry their names.

Shape legend: B batch, L ids, H W rows and columns of ids, N tokens of the transformer (text first,
then image; 2x2 ids are one token under feature compression), T text tokens, D width, V codebook,
E text width, P pooled width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.feature_selection import FeatureSelectionConfig
from demask.transformer.hooks import NO_HOOKS, PassHooks
from demask.transformer.joint_attention import BlockSizes, rotary_axes
from demask.transformer.joint_blocks import Modulated, MultiModalBlock, SingleBlock, finite
from demask.transformer.meissonic_layers import (
    MLP,
    SINUSOID,
    Downsample,
    Embed,
    Head,
    TimeTextEmbedding,
    Upsample,
    check_even,
    sinusoid,
    without_text,
)
from demask.transformer.norm import RMSNorm
from demask.transformer.one_step import FromNoise
from demask.types import Condition, Grid, Prediction, Step, TokenLayout

MICRO = 5
"""Micro-conditions: width, height, crop top, crop left, preference score (section 2.3)."""


@dataclass(frozen=True)
class MeissonicConfig:
    """Sizes of a `Meissonic`; the defaults are the published 1024 model's.

    Attributes:
        codebook_size: codes of the tokenizer.
        vocabulary: rows of the embedding; the last one is the mask.
        heads: attention heads.
        head_width: channels of each; D is their product.
        blocks: multi-modal blocks.
        single_blocks: blocks over text and image as one sequence.
        text_width: E, of the text states.
        pooled_width: P, of the pooled text.
        axes: channels of a head that rotate with each position axis (text, row, column).
        compress: feature compression, 2x2 ids to a token.
        embed_width: of the ids' embedding; by default D.
        time: input of the time embedding: ``step_index``, the number of remaining steps (released
            weights), or ``mask_ratio``, the masked fraction (our models, as in the paper).
        grid: rows and columns of ids in training; others are allowed.
    """

    codebook_size: int = 8192
    vocabulary: int = 8256
    heads: int = 8
    head_width: int = 128
    blocks: int = 14
    single_blocks: int = 28
    text_width: int = 1024
    pooled_width: int = 1024
    axes: tuple[int, int, int] = (16, 56, 56)
    compress: bool = True
    embed_width: int | None = None
    time: str = "step_index"
    grid: Grid = field(default=(64, 64))

    def __post_init__(self) -> None:
        if sum(self.axes) != self.head_width or any(n % 2 for n in self.axes):
            raise ValueError(f"axes {self.axes} must be even and sum to head_width")
        if self.vocabulary <= self.codebook_size:
            raise ValueError("the vocabulary needs a mask id beyond the codebook")
        if self.time not in ("step_index", "mask_ratio"):
            raise ValueError(f"unknown time '{self.time}'. Valid: step_index, mask_ratio")
        check_even(self.grid, self.compress)

    @property
    def width(self) -> int:
        """D."""
        return self.heads * self.head_width


class Meissonic(FromNoise, nn.Module):
    """Partly masked ids + text -> logits; see `MeissonicConfig`."""

    def __init__(self, config: MeissonicConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.codebook_size, self.mask_id = config.codebook_size, config.vocabulary - 1
        self.layout = TokenLayout(config.grid)
        self.resizable, self.grid_multiple = True, 2 if config.compress else 1
        self.embed = Embed(config.vocabulary, config.embed_width or width, width)
        self.time_text_embed = TimeTextEmbedding(width)
        micro_width = SINUSOID * MICRO
        self.cond_embed = MLP(config.pooled_width + micro_width, width, bias=False)
        self.context_embedder = nn.Linear(config.text_width, width)
        self.encoder_proj_layer_norm = RMSNorm(width, eps=1e-6)
        self.project_to_hidden_norm = RMSNorm(width, eps=1e-6)
        self.project_to_hidden = nn.Linear(width, width, bias=False)
        sizes = BlockSizes(width, config.heads)
        self.transformer_blocks = nn.ModuleList(
            MultiModalBlock(sizes) for _ in range(config.blocks)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(sizes) for _ in range(config.single_blocks)
        )
        self.project_from_hidden_norm = RMSNorm(width, eps=1e-6)
        self.project_from_hidden = nn.Linear(width, width, bias=False)
        if config.compress:
            self.down_block = nn.ModuleDict({"downsample": Downsample(width)})
            self.up_block = nn.ModuleDict({"upsample": Upsample(width)})
        self.mlm_layer = Head(width, config.codebook_size)
        self.reset()

    def reset(self) -> None:
        """Initialise for training: small matrices and small residual branches."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=1 / math.sqrt(fan_in))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.embed.embeddings.weight)
        nn.init.zeros_(self.mlm_layer.conv2.weight)
        depth = self.config.blocks + self.config.single_blocks
        for module in self.modules():
            if isinstance(module, Modulated):
                module.reset(1 / math.sqrt(2 * depth))

    def context(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The text tokens (B, T, D) and the pooled condition (B, D), the same in every step."""
        dtype = self.context_embedder.weight.dtype
        text_BTD = self.context_embedder(condition["states"].to(dtype))
        micro_BM = sinusoid(condition["micro"]).flatten(1)
        pooled_BX = torch.cat([condition["pooled"].to(dtype), micro_BM.to(dtype)], dim=-1)
        return self.encoder_proj_layer_norm(text_BTD), self.cond_embed(pooled_BX)

    def features(
        self,
        ids_BL: Tensor,
        condition: Condition,
        time_B: Tensor,
        grid: Grid,
        hooks: PassHooks = NO_HOOKS,
    ) -> Tensor:
        """The last hidden states of the image tokens (B, N - T, D).

        Raises:
            ValueError: a grid that feature compression cannot halve.
        """
        for state_BND in self.states(ids_BL, condition, time_B, grid, hooks=hooks):
            last_BND = state_BND
        return last_BND

    def states(
        self,
        ids_BL: Tensor,
        condition: Condition,
        time_B: Tensor,
        grid: Grid,
        extra_values: Sequence[Tensor] | None = None,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """The image tokens before the first block and after every one (B, N - T, D).

        ``extra_values`` are additional inputs of the blocks' values, of this shape.
        """
        check_even(grid, self.config.compress)
        depth = self.config.blocks + self.config.single_blocks
        extras = enumerate(extra_values or [None] * depth)
        tokens = (grid[0] // self.grid_multiple, grid[1] // self.grid_multiple)
        image_BND = self.embed_tokens(ids_BL, condition, grid, hooks)
        yield image_BND
        text_BTD, pooled_BD = self.context(condition)
        vector_BD = F.silu(self.time_text_embed(time_B, pooled_BD))
        rotary = rotary_axes(text_BTD.shape[1], tokens, self.config.axes, ids_BL)
        image_BND, text_BTD = hooks.select_input(image_BND), hooks.select_text(text_BTD)
        texts = text_BTD.shape[1]
        for block in self.transformer_blocks:
            index, extra = next(extras)
            hook = hooks(index, image_BND, extra, tokens)
            text_BTD, image_BND = block(text_BTD, image_BND, vector_BD, rotary, extra, hook)
            yield image_BND
        x_BND = torch.cat([text_BTD, image_BND], dim=1)
        for block in self.single_transformer_blocks:
            index, extra = next(extras)
            hook = hooks(index, x_BND[:, texts:], extra, tokens)
            x_BND = block(x_BND, vector_BD, rotary, extra, hook)
            yield x_BND[:, texts:]

    def embed_tokens(
        self, ids_BL: Tensor, condition: Condition, grid: Grid, hooks: PassHooks = NO_HOOKS
    ) -> Tensor:
        """The first block's input: the image tokens (B, N - T, D)."""
        x_BND = hooks.change_embeddings(self.embed(ids_BL))
        x_BND = self.down_block["downsample"](x_BND, grid) if self.config.compress else x_BND
        return self.project_to_hidden(self.project_to_hidden_norm(x_BND))

    def logits(self, features_BND: Tensor, grid: Grid) -> Tensor:
        """Hidden states of the image tokens -> logits of the ids (B, L, V)."""
        return self.to_logits(self.project(features_BND, grid))

    def project(self, features_BND: Tensor, grid: Grid) -> Tensor:
        """Hidden states of the image tokens -> input of the output matrix (B, L, D)."""
        x_BND = self.project_from_hidden(self.project_from_hidden_norm(features_BND))
        x_BND = self.up_block["upsample"](x_BND, grid) if self.config.compress else x_BND
        return self.mlm_layer.project(finite(x_BND))

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix, a linear map: logits (B, L, V)."""
        return self.mlm_layer.to_logits(pre_logits_BLD)

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        time_B, grid = self.time(step, ids_BL), step.layout.grid
        return self.project(self.features(ids_BL, condition, time_B, grid), grid)

    def forward(
        self, ids_BL: Tensor, condition: Condition, time_B: Tensor, grid: Grid | None = None
    ) -> Tensor:
        """Logits (B, L, V).

        Args:
            ids_BL: in row-major order; masked ones hold ``mask_id``.
            condition: ``states`` (B, T, E), ``pooled`` (B, P) and ``micro`` (B, 5).
            time_B: see ``MeissonicConfig.time``.
            grid: rows and columns of the ids; by default those of the training.
        """
        grid = grid or self.config.grid
        return self.logits(self.features(ids_BL, condition, time_B, grid), grid)

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; `forward` describes the condition."""
        time_B, grid = self.time(step, ids_BL), step.layout.grid
        features_BND = self.features(ids_BL, condition, time_B, grid, hooks)
        return Prediction(self.logits(features_BND, hooks.output_grid(grid)), features_BND)

    def time(self, step: Step, like_BL: Tensor) -> Tensor:
        """The input of the time embedding (B), on the device of ``like_BL``."""
        if self.config.time == "mask_ratio":
            return step.mask_ratio_B.to(like_BL.device)
        left = step.steps - 1 - step.index
        return torch.full((len(like_BL),), left, device=like_BL.device)

    def feature_selection(self) -> FeatureSelectionConfig:
        """The sizes of a self-guidance module for it.

        Its second pass keeps the text: the model was not trained with a null vector.
        """
        config = self.config
        return FeatureSelectionConfig(
            config.width,
            config.blocks + config.single_blocks,
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

        The selected features are added to the image's values in both kinds of blocks. A blank
        condition is a text of zeros.
        """
        shape = (len(condition), step.layout.tokens)
        ids_BL = torch.full(shape, self.mask_id, device=self.embed.embeddings.weight.device)
        condition = without_text(condition) if blank else condition
        time_B = self.time(step, ids_BL)
        return self.states(ids_BL, condition, time_B, step.layout.grid, extra_values, hooks)

    def apply_head(
        self, features_BND: Tensor, layout: TokenLayout, *, vocabulary: bool = False
    ) -> Tensor:
        """The head: logits (B, L, V); its vocabulary is the codebook."""
        return self.logits(features_BND, layout.grid)

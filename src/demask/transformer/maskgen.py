"""MaskGen-VQ: text to a row of image tokens (arXiv 2501.07730).

Multi-modal blocks as in SD3 (arXiv 2403.03206), where text and image attend to each other. The
state dict has the public checkpoints' keys. Ids: image codes 0..K-1, the mask K; further rows of
the embedding are unused.

Shape legend: B batch, L image tokens, N those that a block computes, T text tokens, K codebook, D
width, E text width, P pooled width, M width of a micro-condition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.condition import PromptReading
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.joint_attention import BlockSizes
from demask.transformer.joint_blocks import Modulated, MultiModalBlock, join, modulate
from demask.transformer.layers import initialise_as_bert
from demask.types import MICRO_CONDITIONS, Condition, Prediction, Step, TokenLayout

BASE = 1000
"""Of the frequencies of a micro-condition; its sines come first."""
SCORE = MICRO_CONDITIONS.index("score")
SCORE_UNIT = 100
"""The input of the model is the score times this number."""


@dataclass(frozen=True)
class MaskGenConfig:
    """Sizes of a `MaskGen`; the defaults are those of the published MaskGen-VQ L.

    Attributes:
        codebook_size: K.
        vocabulary: rows of the embedding; the mask is row K.
        tokens: L.
        width: D.
        depth: blocks.
        heads: attention heads.
        text_width: E.
        pooled_width: P.
        micro_width: M; 0 for a model without the score as an input.
        tied: the output matrix is the embedding; otherwise a linear layer of its own.
        score: the preference score that is used if a request gives none.
    """

    codebook_size: int = 8192
    vocabulary: int = 8192 + 1000 + 2
    tokens: int = 128
    width: int = 1024
    depth: int = 16
    heads: int = 16
    text_width: int = 768
    pooled_width: int = 768
    micro_width: int = 256
    tied: bool = True
    score: float = 6.5

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x {self.heads} heads")
        if self.vocabulary <= self.codebook_size:
            raise ValueError("the vocabulary needs a mask id beyond the codebook")
        if self.micro_width % 2:
            raise ValueError(f"micro_width {self.micro_width} must be even")


class LastBlock(MultiModalBlock):
    """The last block, whose text is read but not changed."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__(sizes)
        self.norm1_context = Modulated(sizes.width, 2)
        self.attn.to_add_out = nn.Identity()
        del self.ff_context

    def forward(
        self,
        text_BTD: Tensor,
        image_BND: Tensor,
        vector_BD: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> tuple[Tensor, Tensor]:
        """As `MultiModalBlock.forward`."""
        scale_t, shift_t = self.norm1_context(vector_BD)
        shift_i, scale_i, gate_i, *mlp_i = self.norm1(vector_BD)
        _, taken_BND = self.attn(
            modulate(text_BTD, shift_t, scale_t),
            hook.select_tokens(modulate(image_BND, shift_i, scale_i)),
            hook.select_rotary(rotary),
            hook.select_extra(extra_value_BND),
            hook,
        )
        image_BND = join(image_BND, gate_i, hook.restore_tokens(taken_BND))
        return text_BTD, self.mlp_branch(image_BND, self.ff, mlp_i, hook)


class MaskGen(nn.Module):
    """Partly masked ids + text -> logits; see `MaskGenConfig`."""

    def __init__(self, config: MaskGenConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.codebook_size = self.mask_id = config.codebook_size
        self.layout = TokenLayout((config.tokens,))
        self.resizable, self.grid_multiple = False, 1
        self.embeddings = nn.Embedding(config.vocabulary, width)
        self.pos_embed = nn.Parameter(torch.empty(1, config.tokens, width))
        self.text_embed_proj = nn.Linear(config.text_width, width)
        self.cond_pooled_proj = nn.Linear(config.pooled_width + config.micro_width, width)
        sizes = BlockSizes(width, config.heads, normed=False)
        kinds = [MultiModalBlock] * (config.depth - 1) + [LastBlock]
        self.blocks = nn.ModuleList(kind(sizes) for kind in kinds)
        self.norm = Modulated(width, 2)
        self.lm_head = None if config.tied else nn.Linear(width, config.codebook_size)
        self.reset()

    def reset(self) -> None:
        """Initialise for training: small matrices and small residual branches."""
        nn.init.normal_(self.pos_embed, std=0.02)
        initialise_as_bert(self)
        for module in self.modules():
            if isinstance(module, Modulated) and module.ways > 2:
                module.reset(1 / math.sqrt(2 * self.config.depth))

    def prompt_reading(self) -> PromptReading:
        """Prompts are padded with text token 0, unlike CLIP's own padding, and it is attended."""
        names = ("score",) if self.config.micro_width else ()
        return PromptReading(0, self.config.score, names)

    def context(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The text tokens (B, T, D) and the condition vector (B, D), the same in every step."""
        like = self.text_embed_proj.weight
        pooled_BP = condition["pooled"].to(like)
        if self.config.micro_width:
            score_B = SCORE_UNIT * condition["micro"][:, SCORE]
            wave_BM = sinusoid(score_B, self.config.micro_width).to(like)
            pooled_BP = torch.cat([pooled_BP, wave_BM], dim=-1)
        text_BTD = self.text_embed_proj(condition["states"].to(like))
        return text_BTD, self.cond_pooled_proj(pooled_BP)

    def states(
        self, ids_BL: Tensor, condition: Condition, hooks: PassHooks = NO_HOOKS
    ) -> Iterator[Tensor]:
        """The image tokens before the first block and after every one (B, L, D), the last normed.

        Raises:
            ValueError: another number of tokens than in training.
        """
        if ids_BL.shape[1] != self.config.tokens:
            raise ValueError(f"{ids_BL.shape[1]} tokens; this model takes {self.config.tokens}")
        image_BND = self.embeddings(ids_BL) + self.pos_embed
        yield image_BND
        text_BTD, pooled_BD = self.context(condition)
        vector_BD = F.silu(pooled_BD)
        rotary = unturned(text_BTD.shape[1] + ids_BL.shape[1], self.config, image_BND)
        image_BND, text_BTD = hooks.select_input(image_BND), hooks.select_text(text_BTD)
        for index, block in enumerate(self.blocks):
            hook = hooks(index, image_BND, None, (1, self.config.tokens))
            text_BTD, image_BND = block(text_BTD, image_BND, vector_BD, rotary, None, hook)
            yield image_BND
        scale_B1D, shift_B1D = self.norm(vector_BD)
        yield modulate(image_BND, shift_B1D, scale_B1D)

    def pre_logits(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        for state_BND in self.states(ids_BL, condition, hooks):
            last_BND = state_BND
        return last_BND

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix, an affine map: logits (B, L, K)."""
        if self.lm_head is not None:
            return self.lm_head(pre_logits_BLD)
        return F.linear(pre_logits_BLD, self.embeddings.weight[: self.codebook_size])

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """A `Predict`; the condition holds ``states``, ``pooled`` and ``micro``."""
        features_BLD = self.pre_logits(ids_BL, condition, step, hooks)
        return Prediction(self.to_logits(features_BLD), features_BLD)


def sinusoid(values_B: Tensor, width: int) -> Tensor:
    """Numbers (B) -> (B, M): sines, then cosines, from 1 to 1 / `BASE` radians."""
    half = width // 2
    speed = torch.exp(-math.log(BASE) * torch.arange(half, device=values_B.device) / half)
    angle = values_B.float()[:, None] * speed
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def unturned(sequence: int, config: MaskGenConfig, like: Tensor) -> Tensor:
    """Rotary tables (2, N, D / heads / 2) that turn nothing: the positions are learned."""
    ones = like.new_ones(sequence, config.width // config.heads // 2, dtype=torch.float32)
    return torch.stack([ones, torch.zeros_like(ones)])

"""Halton-MaskGIT's transformer (arXiv 2503.17076, appendix), class-conditional.

Learned positions, adaptive RMS norms with the class, normalised queries and keys, SwiGLU, and
register tokens without positions. The output matrix is the embedding of the ids. There is no
dependence on the step. `demask.checkpoint.public_halton` maps the public keys.

Shape legend: B batch, L image tokens, P registers, S = P + L sequence, N any part of it, K
codebook, D width, H heads, C channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.class_conditional import ClassConditional
from demask.transformer.hooks import NO_HOOK, NO_HOOKS, BlockHook, PassHooks
from demask.transformer.layers import received
from demask.transformer.norm import RMSNorm
from demask.types import Condition, Grid, Step

EPS = 1e-5


@dataclass(frozen=True)
class HaltonMaskGITConfig:
    """Sizes of a `HaltonMaskGIT`; the defaults are those of the published base model.

    Attributes:
        codebook_size: K, codes of the tokenizer.
        num_classes: classes; the id after them is the null class.
        grid: rows and columns of the image's tokens.
        width: D.
        depth: blocks.
        heads: attention heads of ``width // heads`` channels each.
        mlp_width: hidden channels of the gated MLP.
        registers: P, learned tokens beside the image's.
        dropout: on the residual branches, in training.
    """

    codebook_size: int = 16384
    num_classes: int = 1000
    grid: Grid = (16, 16)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 2048
    registers: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.heads <= self.width:
            raise ValueError(f"heads must be from 1 to the width {self.width}, not {self.heads}")

    @property
    def inner_width(self) -> int:
        """Channels of all heads; fewer than D where the heads do not divide it."""
        return self.width // self.heads * self.heads

    @classmethod
    def published(cls, size: str, grid: Grid = (16, 16)) -> HaltonMaskGITConfig:
        """A published size: tiny, small, base, large or xlarge, for 16x16 or 24x24 tokens."""
        width, depth, heads, mlp_width = SIZES[size]
        return cls(grid=grid, width=width, depth=depth, heads=heads, mlp_width=mlp_width)


SIZES = {
    "tiny": (384, 6, 6, 1024),
    "small": (512, 12, 6, 1536),
    "base": (768, 12, 12, 2048),
    "large": (1024, 24, 16, 2816),
    "xlarge": (1152, 28, 16, 3072),
}
"""Width, depth, heads and MLP width of the published sizes."""


class Attention(nn.Module):
    """Attention whose queries and keys are normalised over all heads together."""

    def __init__(self, width: int, inner_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Linear(width, inner_width, bias=False) for _ in range(3)
        )
        self.out = nn.Linear(inner_width, width, bias=False)

    def split(self, x_BND: Tensor) -> Tensor:
        """The heads, (B, H, N, C)."""
        return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def queries_keys(self, x_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised queries and keys, (B, H, N, C) each."""
        query, key = (
            self.split(F.rms_norm(projected, projected.shape[-1:], eps=EPS))
            for projected in (self.query(x_BND), self.key(x_BND))
        )
        return query, key

    def forward(
        self, x_BND: Tensor, extra_BND: Tensor | None = None, hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """Same shape in and out; ``extra_BND`` is a second input of the values alone."""
        value_BND = self.value(x_BND)
        if extra_BND is not None:
            value_BND = value_BND + self.value(extra_BND)
        gathered = hook.attend(*self.queries_keys(x_BND), self.split(value_BND))
        return self.out(gathered.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """The gated MLP (arXiv 2002.05202), with separate matrices."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, mlp_width, bias=False)
        self.up = nn.Linear(width, mlp_width, bias=False)
        self.down = nn.Linear(mlp_width, width, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.down(F.silu(self.gate(x_BND)) * self.up(x_BND))


class Block(nn.Module):
    """Attention and MLP with shift, scale and gate from the class."""

    def __init__(self, config: HaltonMaskGITConfig) -> None:
        super().__init__()
        width = config.width
        self.modulate = nn.Linear(width, 6 * width)
        self.attention_norm = RMSNorm(width, eps=EPS)
        self.attention = Attention(width, config.inner_width, config.heads)
        self.mlp_norm = RMSNorm(width, eps=EPS)
        self.mlp = SwiGLU(width, config.mlp_width)
        self.dropout = config.dropout

    def forward(
        self,
        x_BND: Tensor,
        class_BD: Tensor,
        extra_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out."""
        modulation = self.modulate(class_BD)[:, None].chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        attended = hook.restore_tokens(
            self.attention(
                hook.select_tokens(self.attention_norm(x_BND) * (1 + scale_a) + shift_a),
                hook.select_extra(extra_BND),
                hook,
            )
        )
        x_BND = x_BND + gate_a * F.dropout(attended, self.dropout, self.training)
        selected = hook.select_tokens(self.mlp_norm(x_BND) * (1 + scale_m) + shift_m)
        mlp_out = hook.restore_tokens(self.mlp(selected))
        return x_BND + gate_m * F.dropout(mlp_out, self.dropout, self.training)


class HaltonMaskGIT(ClassConditional):
    """Partly masked ids + class -> logits; see `HaltonMaskGITConfig`."""

    def __init__(self, config: HaltonMaskGITConfig) -> None:
        super().__init__(config)
        self.config, self.prefix = config, config.registers
        width = config.width
        self.embed = nn.Embedding(config.codebook_size + 1, width)
        self.embed_class = nn.Embedding(config.num_classes + 1, width)
        self.positions = nn.Embedding(config.grid[0] * config.grid[1], width)
        self.registers = nn.Embedding(config.registers, width) if config.registers else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = RMSNorm(width, eps=EPS)
        self.norm_bias = nn.Parameter(torch.zeros(width))
        self.modulate = nn.Linear(width, 2 * width)
        self.head_bias = nn.Parameter(torch.zeros(config.codebook_size + 1))
        self.reset()

    def reset(self) -> None:
        """Initialise: matrices normal with deviation 0.02; closed gates, as in DiT."""
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if name.endswith("modulate"):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)

    def embedded(self, ids_BL: Tensor, class_ids_B: Tensor, hooks: PassHooks = NO_HOOKS) -> Tensor:
        """The first block's input (B, S, D): registers, which have no positions, and ids."""
        x_BLD = hooks.change_embeddings(self.embed(ids_BL)) + self.positions.weight
        if self.registers is None:
            return x_BLD
        return torch.cat([self.registers.weight.expand(len(ids_BL), -1, -1), x_BLD], dim=1)

    def around(self, class_ids_B: Tensor) -> Tensor:
        """The class (B, D) as all modulations read it."""
        return F.silu(self.embed_class(class_ids_B))

    def final(self, x_BND: Tensor, around: Tensor | None) -> Tensor:
        """The last norm, modulated by the class."""
        shift, scale = self.modulate(around)[:, None].chunk(2, dim=-1)
        return (self.norm(x_BND) + self.norm_bias) * (1 + scale) + shift

    def head(self, x_BND: Tensor, position_BN: Tensor | None, columns: int | None) -> Tensor:
        """Logits; the output matrix is the embedding."""
        return F.linear(x_BND, self.embed.weight[:columns], self.head_bias[:columns])

    def received(self, x_BSD: Tensor, around: Tensor | None) -> Tensor:
        """The attention that each token receives in the last block (B, S)."""
        block = self.blocks[-1]
        assert isinstance(block, Block)
        shift, scale = block.modulate(around)[:, None].chunk(6, dim=-1)[:2]
        normed_BSD = block.attention_norm(x_BSD) * (1 + scale) + shift
        return received(*block.attention.queries_keys(normed_BSD))

    def pre_logits(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `predict` without the output matrix (B, L, D); `to_logits` applies it."""
        return self.features(ids_BL, condition["class_ids"])[:, self.prefix :]

    def to_logits(self, pre_logits_BLD: Tensor) -> Tensor:
        """Apply the output matrix: logits (B, L, K), an affine map."""
        return self.head(pre_logits_BLD, None, self.codebook_size)

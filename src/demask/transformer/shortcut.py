"""A shortcut network: predicts a transformer's next hidden states from the changed tokens.

Shape legend: B batch, L ids, N tokens of the image, S sequence of the base's features (a prefix
of class or nothing, then the image's tokens), D width of the base, W own width, H heads, K
channels of a head, V codebook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.layers import Attention, GatedMLP, rotary_2d, rotate
from demask.transformer.norm import RMSNorm
from demask.transformer.protocols import SupportsShortcut
from demask.types import Condition, Grid, Transformer


@dataclass(frozen=True)
class ShortcutConfig:
    """Sizes of a `Shortcut`.

    Attributes:
        base_width: D of the model that it is trained for.
        width: W; half of D in the paper.
        heads: attention heads; ``width / heads`` is a multiple of 4.
        mlp_width: hidden channels of the gated MLP.
    """

    base_width: int
    width: int
    heads: int = 2
    mlp_width: int = 256

    def __post_init__(self) -> None:
        for name in ("base_width", "width", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % (4 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 4 x {self.heads} heads")


class Extended(Transformer, SupportsShortcut, Protocol):
    """A transformer beside which a shortcut can be trained."""


class CrossAttention(nn.Module):
    """Attention of all tokens to those that have just changed and to a learned null token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_norm = RMSNorm(width // heads, eps=1e-6)
        self.key_norm = RMSNorm(width // heads, eps=1e-6)
        self.nothing = nn.Parameter(torch.zeros(2, width))
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BNW: Tensor, new_BNW: Tensor, changed_BN: Tensor, rotary: Tensor) -> Tensor:
        """The attention output (B, N, W).

        Args:
            x_BNW: queries.
            new_BNW: keys and values.
            changed_BN: mask of the keys and values.
            rotary: rotary tables of both.
        """
        q = self.split(self.query(x_BNW))
        k, v = (self.split(t) for t in self.key_value(new_BNW).chunk(2, dim=-1))
        q, k = rotate(self.query_norm(q), rotary), rotate(self.key_norm(k), rotary)
        none_k, none_v = (
            self.split(row_W.expand(len(x_BNW), 1, -1)) for row_W in self.nothing.to(x_BNW.dtype)
        )
        seen_BN = F.pad(changed_BN, (1, 0), value=True)
        gathered_BHNK = F.scaled_dot_product_attention(
            q, torch.cat([none_k, k], 2), torch.cat([none_v, v], 2), seen_BN[:, None, None]
        )
        return self.out(gathered_BHNK.transpose(1, 2).flatten(2))

    def split(self, x_BNW: Tensor) -> Tensor:
        """(B, H, N, K)."""
        return x_BNW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Shortcut(nn.Module):
    """One narrow block that replaces a forward of the transformer (arXiv 2602.23996, section 4).

    With h the last hidden states of a step and C the tokens that changed after it,

        h' = h + |h| W_out block(W_in (h / |h|), attends to C),

    where |h| is the root mean square of a token's channels. W_out is initialised to zero, so an
    untrained shortcut is a cache: h' = h.
    """

    def __init__(self, config: ShortcutConfig) -> None:
        super().__init__()
        self.config = config
        base, width = config.base_width, config.width
        self.enter = nn.Linear(base, width, bias=False)
        self.enter_new = nn.Linear(base, width, bias=False)
        self.time = nn.Linear(1, width)
        norms = (RMSNorm(width, eps=1e-6) for _ in range(4))
        self.cross_norm, self.self_norm, self.mlp_norm, self.norm = norms
        self.cross = CrossAttention(width, config.heads)
        self.attention = Attention(width, config.heads)
        self.mlp = GatedMLP(width, config.mlp_width)
        self.leave = nn.Linear(width, base, bias=False)
        self.reset()

    def reset(self) -> None:
        """Initialise; an untrained shortcut is a cache."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
        nn.init.zeros_(self.time.bias)
        nn.init.zeros_(self.leave.weight)

    def forward(
        self,
        features_BND: Tensor,
        embedded_BND: Tensor,
        changed_BN: Tensor,
        num_masked_B: Tensor,
        grid: Grid,
    ) -> Tensor:
        """The next step's last hidden states (B, N, D).

        Args:
            features_BND: the hidden states of the previous step.
            embedded_BND: the current input of the base's first block.
            changed_BN: tokens that have changed since the previous step.
            num_masked_B: the masked fraction of each image's ids.
            grid: rows and columns of the tokens.
        """
        size_BN1 = features_BND.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
        dtype = self.enter.weight.dtype
        rotary = rotary_2d(grid, self.config.width // self.config.heads, features_BND.device)
        new_BNW = self.enter_new(F.rms_norm(embedded_BND, embedded_BND.shape[-1:], eps=1e-6))
        x_BNW = self.enter(features_BND / size_BN1) + new_BNW * changed_BN[..., None]
        x_BNW = x_BNW + self.time(num_masked_B.to(dtype)[:, None])[:, None]
        x_BNW = x_BNW + self.cross(self.cross_norm(x_BNW), new_BNW, changed_BN, rotary)
        x_BNW = x_BNW + self.attention(self.self_norm(x_BNW), rotary)
        x_BNW = x_BNW + self.mlp(self.mlp_norm(x_BNW))
        return features_BND + size_BN1 * self.leave(self.norm(x_BNW))


def advance(
    network: Callable[..., Tensor],
    base: Extended,
    features_BSD: Tensor,
    ids_BL: Tensor,
    changed_BN: Tensor,
    condition: Condition,
    num_masked_B: Tensor,
    grid: Grid,
) -> Tensor:
    """The next step's last hidden states of a base (B, S, D).

    Args:
        network: a `Shortcut`, possibly wrapped by a training.
        base: the transformer that it is trained for.
        features_BSD: the hidden states of the previous step; a prefix is not changed.
        ids_BL: the current ids.
        changed_BN: tokens that have changed since the previous step.
        condition: condition of the base.
        num_masked_B: the masked fraction of each image's ids.
        grid: rows and columns of the ids.
    """
    side = base.grid_multiple
    tokens = grid[0] // side, grid[1] // side
    prefix = features_BSD.shape[1] - tokens[0] * tokens[1]
    embedded_BND = base.embed_tokens(ids_BL, condition, grid)
    next_BND = network(features_BSD[:, prefix:], embedded_BND, changed_BN, num_masked_B, tokens)
    return torch.cat([features_BSD[:, :prefix], next_BND], dim=1) if prefix else next_BND

"""Building blocks of the transformers that we train ourselves.

Shape legend: B batch, N sequence, D width, H heads, K channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, BlockHook
from demask.transformer.norm import RMSNorm
from demask.types import Grid


def initialise_as_bert(network: nn.Module) -> None:
    """Initialise matrices normal with deviation 0.02, cut off at two deviations, and biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def rotary_2d(grid: Grid, head_width: int, device: torch.device, theta: float = 100.0) -> Tensor:
    """Cosines and sines (2, L, head_width / 2) of 2-D rotary positions.

    Half of the channels turn with the row, half with the column (arXiv 2104.09864, per axis).
    The low ``theta`` suits grids of 8 to 64 tokens a side.
    """
    per_axis = head_width // 4
    speed = theta ** (-torch.arange(per_axis, device=device) / per_axis)
    row, column = torch.meshgrid(*(torch.arange(n, device=device) for n in grid), indexing="ij")
    angle = torch.cat([p.reshape(-1, 1) * speed for p in (row, column)], dim=-1)
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x_BHNK: Tensor, rotary: Tensor) -> Tensor:
    """Turn channel k together with channel k + K/2 by the angle of their position.

    ``rotary`` is (2, N, K / 2), or (2, B, N, K / 2) where every image has tables of its own.
    """
    turns = rotary.to(x_BHNK.dtype)
    cos, sin = turns[:, :, None] if turns.ndim == 4 else turns
    first, second = x_BHNK.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Attention(nn.Module):
    """Self-attention with normalised queries and keys (arXiv 2302.05442) and rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = RMSNorm(width // heads, eps=1e-6)
        self.key_norm = RMSNorm(width // heads, eps=1e-6)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x_BND: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out.

        ``extra_value_BND`` is a second input for the values alone (self-guidance).
        """
        q, k, v = self.qkv(x_BND).chunk(3, dim=-1)
        if extra_value_BND is not None:
            v = v + F.linear(extra_value_BND, self.qkv.weight.chunk(3)[2])
        q, k = self.placed(q, k, rotary)
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = hook.attend(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def placed(self, query_BND: Tensor, key_BND: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor]:
        """The heads of queries and keys (B, H, N, K), normalised and turned."""
        q, k = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query_BND, key_BND))
        return rotate(self.query_norm(q), rotary), rotate(self.key_norm(k), rotary)

    def received(self, x_BND: Tensor, rotary: Tensor) -> Tensor:
        """See `received`: (B, N)."""
        query_BND, key_BND, _ = self.qkv(x_BND).chunk(3, dim=-1)
        return received(*self.placed(query_BND, key_BND, rotary))


def received(query_BHNK: Tensor, key_BHNK: Tensor) -> Tensor:
    """How much attention each token gets from all, over the heads: (B, N), 1 on average."""
    scale = query_BHNK.shape[-1] ** -0.5
    weight_BHNN = (query_BHNK @ key_BHNK.transpose(-1, -2) * scale).softmax(-1)
    return weight_BHNN.mean(1).sum(1)


class GatedMLP(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        gate, value = self.up(x_BND).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)

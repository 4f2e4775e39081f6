"""The attention of Meissonic's blocks, text and image together (arXiv 2410.08261, section 2.1).

Attributes carry the names of the public state dict.

Shape legend: B batch, N sequence (text first, then image), T text, D width, H heads, K channels of
a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, BlockHook
from demask.transformer.norm import RMSNorm
from demask.types import Grid

THETA = 10_000.0


@dataclass(frozen=True)
class BlockSizes:
    """Width and heads of a block; ``normed``: queries and keys are normalised."""

    width: int
    heads: int
    normed: bool = True

    @property
    def head_width(self) -> int:
        """K."""
        return self.width // self.heads


def rotary_axes(texts: int, grid: Grid, axes: tuple[int, int, int], like: Tensor) -> Tensor:
    """Cosines and sines (2, N, K / 2) of positions on three axes, on the device of ``like``.

    Text tokens are at (0, 0, 0), the image token of row r and column c at (0, r, c), independent of
    the image's size.
    """
    row, column = torch.meshgrid(
        *(torch.arange(n, device=like.device) for n in grid), indexing="ij"
    )
    place_N3 = torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)
    place_N3 = torch.cat([place_N3.new_zeros(texts, 3), place_N3]).float()
    angles = []
    for axis, channels in enumerate(axes):
        even = torch.arange(0, channels, 2, device=like.device)
        angles.append(place_N3[:, axis, None] * THETA ** (-even / channels))
    angle_NK = torch.cat(angles, dim=-1)
    return torch.stack([angle_NK.cos(), angle_NK.sin()])


def rotate(x_BNHK: Tensor, rotary: Tensor) -> Tensor:
    """Rotate channels 2k and 2k + 1 by the angle of their position.

    ``rotary`` is (2, N, K / 2), or (2, B, N, K / 2) with one table per image.
    """
    pairs, (cos, sin) = x_BNHK.unflatten(-1, (-1, 2)), rotary.unsqueeze(-2)
    if torch.is_grad_enabled():
        even, odd = pairs.unbind(-1)
        cos, sin = cos.to(even.dtype), sin.to(even.dtype)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
    # complex numbers need a single pass over memory
    whole = pairs if pairs.dtype == torch.float64 else pairs.float()
    turned = torch.view_as_real(torch.view_as_complex(whole) * torch.complex(cos, sin))
    return turned.flatten(-2).to(x_BNHK.dtype)


def attend(
    q_BNHK: Tensor, k_BNHK: Tensor, v_BNHK: Tensor, rotary: Tensor, hook: BlockHook = NO_HOOK
) -> Tensor:
    """Attention with rotary positions, (B, N, D)."""
    q, k = rotate(q_BNHK, rotary), rotate(k_BNHK, rotary)
    q, k, v = (x_BNHK.transpose(1, 2) for x_BNHK in (q, k, v_BNHK))
    return hook.attend(q, k, v).transpose(1, 2).flatten(2)


def with_extra(v_BNHK: Tensor, to_v: nn.Module, extra_value_BND: Tensor | None) -> Tensor:
    """Add the values of an additional input to the image part of the values.

    Self-guidance feeds selected features back this way (arXiv 2410.13136).

    Args:
        v_BNHK: text first, then image.
        to_v: the value projection of the image.
        extra_value_BND: additional input, of the length of the image part; or None.
    """
    if extra_value_BND is None:
        return v_BNHK
    added_BNHK = to_v(extra_value_BND).unflatten(-1, v_BNHK.shape[2:])
    texts = v_BNHK.shape[1] - added_BNHK.shape[1]
    return torch.cat([v_BNHK[:, :texts], v_BNHK[:, texts:] + added_BNHK], dim=1)


class HeadNorm(RMSNorm):
    """RMS norm of each head's channels (queries and keys)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out; three passes over memory instead of torch's five."""
        if torch.is_grad_enabled() or x.dtype not in (torch.float32, torch.float64):
            return super().forward(x)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(1e-6).rsqrt_()
        return (x * inverse).mul_(self.weight)


class JointAttention(nn.Module):
    """Joint attention: text and image have separate weights and attend to the whole sequence."""

    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    add_q_proj: nn.Module
    add_k_proj: nn.Module
    add_v_proj: nn.Module
    norm_q: nn.Module
    norm_k: nn.Module
    norm_added_q: nn.Module
    norm_added_k: nn.Module
    to_add_out: nn.Module

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        width, head = sizes.width, sizes.head_width
        self.heads = sizes.heads
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
            setattr(self, name, nn.Linear(width, width))
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            setattr(self, name, HeadNorm(head) if sizes.normed else nn.Identity())
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.to_add_out = nn.Linear(width, width)

    def forward(
        self,
        text_BTD: Tensor,
        image_BND: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> tuple[Tensor, Tensor]:
        """The attention outputs of text and image; see `with_extra` for ``extra_value_BND``.

        The text may have no tokens.
        """
        image = [f(image_BND).unflatten(-1, (self.heads, -1)) for f in self._image]
        q, k, v = self.norm_q(image[0]), self.norm_k(image[1]), image[2]
        texts = text_BTD.shape[1]
        if texts:
            text = [f(text_BTD).unflatten(-1, (self.heads, -1)) for f in self._text]
            q = torch.cat([self.norm_added_q(text[0]), q], dim=1)
            k = torch.cat([self.norm_added_k(text[1]), k], dim=1)
            v = torch.cat([text[2], v], dim=1)
        v = with_extra(v, self.to_v, extra_value_BND)
        mixed_BND = attend(q, k, v, rotary, hook)
        image_BND = self.to_out[0](mixed_BND[:, texts:])
        return self.to_add_out(mixed_BND[:, :texts]) if texts else text_BTD, image_BND

    @property
    def _text(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.add_q_proj, self.add_k_proj, self.add_v_proj

    @property
    def _image(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.to_q, self.to_k, self.to_v


class SelfAttention(nn.Module):
    """Attention of the single blocks; their output projection is shared with the MLP."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.to_q = nn.Linear(sizes.width, sizes.width)
        self.to_k = nn.Linear(sizes.width, sizes.width)
        self.to_v = nn.Linear(sizes.width, sizes.width)
        self.norm_q = HeadNorm(sizes.head_width)
        self.norm_k = HeadNorm(sizes.head_width)

    def forward(
        self,
        x_BND: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out; see `with_extra` for ``extra_value_BND``."""
        q, k, v = (
            f(x_BND).unflatten(-1, (self.heads, -1)) for f in (self.to_q, self.to_k, self.to_v)
        )
        v = with_extra(v, self.to_v, extra_value_BND)
        return attend(self.norm_q(q), self.norm_k(k), v, rotary, hook)

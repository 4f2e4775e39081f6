"""The layers of aMUSEd's U-ViT (arXiv 2401.01808).

Attributes carry the names of the public state dict. All layers read and write rows of tokens.

Shape legend: B batch, N tokens of the image, T text tokens, D width, C channels of an outer block,
E width of the text, X four times C.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, BlockHook
from demask.transformer.meissonic_layers import Downsample, Upsample
from demask.transformer.norm import RMSNorm
from demask.types import Grid

EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention without biases, to the image itself or to a text."""

    def __init__(self, width: int, heads: int, text_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(text_width or width, width, bias=False)
        self.to_v = nn.Linear(text_width or width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=False)])

    def forward(
        self,
        x_BND: Tensor,
        text_BTE: Tensor | None = None,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out.

        Args:
            x_BND: the queries.
            text_BTE: the keys and values; None for self-attention.
            extra_value_BND: additional input of the values, for self-attention.
            hook: used in self-attention.
        """
        source = x_BND if text_BTE is None else text_BTE
        value = self.to_v(source)
        if extra_value_BND is not None:
            value = value + self.to_v(extra_value_BND)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.to_q(x_BND), self.to_k(source), value)
        )
        mixed = hook.attend(q, k, v) if text_BTE is None else NO_HOOK.attend(q, k, v)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class ConditionedNorm(nn.Module):
    """A norm whose output is scaled and shifted by the condition."""

    def __init__(self, width: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.linear = nn.Linear(width, 2 * width, bias=False)

    def forward(self, x_BND: Tensor, vector_BD: Tensor) -> Tensor:
        """Same shape in and out; ``vector_BD`` is the activated condition."""
        scale_B1D, shift_B1D = self.linear(vector_BD)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift_B1D, self.norm(x_BND), 1 + scale_B1D)


class GatedGELU(nn.Module):
    """A linear layer to values and gates: value * GELU(gate) (arXiv 2002.05202)."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * mlp_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., mlp_width)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated MLP without biases."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [GatedGELU(width, mlp_width), nn.Identity(), nn.Linear(mlp_width, width, bias=False)]
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.net[2](self.net[0](x_BND))


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention to the text, MLP; each norm reads the condition."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = ConditionedNorm(width, RMSNorm(width, eps=EPS))
        self.attn1 = Attention(width, heads)
        self.norm2 = ConditionedNorm(width, RMSNorm(width, eps=EPS))
        self.attn2 = Attention(width, heads, width)
        # unlike the other two, the last norm of the published network is a layer norm
        self.norm3 = ConditionedNorm(width, nn.LayerNorm(width, eps=EPS, bias=False))
        self.ff = FeedForward(width, mlp_width)

    def forward(
        self,
        x_BND: Tensor,
        text_BTD: Tensor,
        vector_BD: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out; ``vector_BD`` is the activated condition."""
        extra_BND = hook.select_extra(extra_value_BND)
        seen_BND = hook.select_tokens(self.norm1(x_BND, vector_BD))
        attended_BND = self.attn1(seen_BND, extra_value_BND=extra_BND, hook=hook)
        x_BND = x_BND + hook.restore_tokens(attended_BND)
        seen_BND = hook.select_tokens(self.norm2(x_BND, vector_BD))
        x_BND = x_BND + hook.restore_tokens(self.attn2(seen_BND, text_BTD))
        seen_BND = hook.select_tokens(self.norm3(x_BND, vector_BD))
        return x_BND + hook.restore_tokens(self.ff(seen_BND))


class ResponseNorm(nn.Module):
    """Global response normalisation over the whole grid (arXiv 2301.00808)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x_BNX: Tensor) -> Tensor:
        """Same shape in and out."""
        length_B1X = torch.linalg.vector_norm(x_BNX, dim=1, keepdim=True)
        response_B1X = length_B1X / (length_B1X.mean(-1, keepdim=True) + EPS)
        gamma_X, beta_X = self.gamma.flatten(), self.beta.flatten()
        return torch.addcmul(beta_X, x_BNX, 1 + gamma_X * response_B1X)


class ResidualBlock(nn.Module):
    """A ConvNeXt V2 block whose sum is scaled and shifted by the condition."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = RMSNorm(channels, eps=EPS)
        self.channelwise_linear_1 = nn.Linear(channels, 4 * channels, bias=False)
        self.channelwise_norm = ResponseNorm(4 * channels)
        self.channelwise_linear_2 = nn.Linear(4 * channels, channels, bias=False)
        self.cond_embeds_mapper = nn.Linear(width, 2 * channels, bias=False)

    def forward(self, x_BNC: Tensor, vector_BD: Tensor, grid: Grid) -> Tensor:
        """Same shape in and out."""
        map_BCHW = x_BNC.transpose(1, 2).unflatten(2, grid)
        branch_BNC = self.norm(self.depthwise(map_BCHW).flatten(2).transpose(1, 2))
        wide_BNX = self.channelwise_norm(F.gelu(self.channelwise_linear_1(branch_BNC)))
        x_BNC = x_BNC + self.channelwise_linear_2(wide_BNX)
        scale_B1C, shift_B1C = self.cond_embeds_mapper(vector_BD)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift_B1C, x_BNC, 1 + scale_B1C)


class TextAttentionBlock(nn.Module):
    """Two cross-attentions to the text; there is no self-attention in the outer blocks."""

    def __init__(self, channels: int, heads: int, text_width: int) -> None:
        super().__init__()
        differs = text_width != channels
        self.kv_mapper = nn.Linear(text_width, channels, bias=False) if differs else None
        self.norm1, self.norm2 = RMSNorm(channels, eps=EPS), RMSNorm(channels, eps=EPS)
        self.attn1 = Attention(channels, heads, channels)
        self.attn2 = Attention(channels, heads, channels)

    def forward(self, x_BNC: Tensor, text_BTE: Tensor) -> Tensor:
        """Same shape in and out."""
        text_BTC = text_BTE if self.kv_mapper is None else self.kv_mapper(F.silu(text_BTE))
        x_BNC = x_BNC + self.attn1(self.norm1(x_BNC), text_BTC)
        return x_BNC + self.attn2(self.norm2(x_BNC), text_BTC)


class OuterBlock(nn.Module):
    """The block before or after the transformer layers: convolutions and text attention.

    Args:
        channels: C.
        heads: of the attention.
        width: of the transformer layers, the condition and the text.
        repeats: residual blocks, each with a text attention.
        down: fold 2x2 tokens into one first.
        up: unfold them at the end.
    """

    downsample: Downsample
    upsample: Upsample

    def __init__(
        self,
        channels: int,
        heads: int,
        width: int,
        repeats: int,
        *,
        down: bool = False,
        up: bool = False,
    ) -> None:
        super().__init__()
        if down:
            self.downsample = Downsample(channels)
        self.res_blocks = nn.ModuleList(ResidualBlock(channels, width) for _ in range(repeats))
        self.attention_blocks = nn.ModuleList(
            TextAttentionBlock(channels, heads, width) for _ in range(repeats)
        )
        if up:
            self.upsample = Upsample(channels)

    def forward(self, x_BNC: Tensor, text_BTD: Tensor, vector_BD: Tensor, grid: Grid) -> Tensor:
        """Same shape in and out, without down- and upsampling; ``grid`` is that of N tokens."""
        for convolve, attend in zip(self.res_blocks, self.attention_blocks, strict=True):
            x_BNC = attend(convolve(x_BNC, vector_BD, grid), text_BTD)
        return x_BNC

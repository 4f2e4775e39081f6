"""The blocks of Meissonic: text and image attend to each other (arXiv 2410.08261, section 2.1).

Attributes carry the names of the public state dict.

Shape legend: B batch, N sequence (text first, then image), T text, D width, M width of an MLP,
R rows (the tokens of all images).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.hooks import NO_HOOK, BlockHook
from demask.transformer.joint_attention import BlockSizes, JointAttention, SelfAttention
from demask.transformer.packed_linear import PackedLinear, gelu

FEW_ROWS = 1024
"""Up to this many tokens, concatenating two inputs costs next to nothing."""


def finite(x: Tensor) -> Tensor:
    """Clamp float16 residual streams to the finite range."""
    return x.clamp(-65504, 65504) if x.dtype == torch.float16 else x


class Modulated(nn.Module):
    """Layer norm whose shift, scale and gate come from the condition (AdaLN-Zero, 2212.09748)."""

    def __init__(self, width: int, ways: int) -> None:
        super().__init__()
        self.ways = ways
        self.linear = nn.Linear(width, ways * width)

    def reset(self, gate: float) -> None:
        """Initialise: no shift, no scale, and gates of the same small size."""
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.bias.view(self.ways, -1)[2::3] = gate

    def forward(self, vector_BD: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate, once or twice, each (B, 1, D)."""
        return self.linear(vector_BD)[:, None].chunk(self.ways, dim=-1)


def modulate(x_BND: Tensor, shift_B1D: Tensor, scale_B1D: Tensor) -> Tensor:
    """Layer norm without weights, then scale and shift."""
    normed_BND = F.layer_norm(x_BND, x_BND.shape[-1:], eps=1e-6)
    return torch.addcmul(shift_B1D, normed_BND, 1 + scale_B1D)


def join(x_BND: Tensor, gate_B1D: Tensor, branch_BND: Tensor) -> Tensor:
    """Add a gated branch to a residual stream."""
    return finite(torch.addcmul(x_BND, gate_B1D, branch_BND))


class TanhGELU(nn.Module):
    """A linear layer and the tanh approximation of GELU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width_in, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_in) -> (..., width)."""
        return gelu(self.proj, x, "tanh")


class FeedForward(nn.Module):
    """Four times the width and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [TanhGELU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)]
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.net[2](self.net[0](x_BND))


class MultiModalBlock(nn.Module):
    """Joint attention, then an MLP on each stream."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.norm1 = Modulated(sizes.width, 6)
        self.norm1_context = Modulated(sizes.width, 6)
        self.attn = JointAttention(sizes)
        self.ff = FeedForward(sizes.width)
        self.ff_context = FeedForward(sizes.width)

    def forward(
        self,
        text_BTD: Tensor,
        image_BND: Tensor,
        vector_BD: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> tuple[Tensor, Tensor]:
        """Text and image, same shapes in and out; ``vector_BD`` is the activated condition.

        ``extra_value_BND`` is an additional input of the image's values; see `with_extra`. The hook
        applies to the image stream. The text may have no tokens.
        """
        shift_t, scale_t, gate_t, *mlp_t = self.norm1_context(vector_BD)
        shift_i, scale_i, gate_i, *mlp_i = self.norm1(vector_BD)
        taken_BTD, taken_BND = self.attn(
            modulate(text_BTD, shift_t, scale_t),
            hook.select_tokens(modulate(image_BND, shift_i, scale_i)),
            hook.select_rotary(rotary),
            hook.select_extra(extra_value_BND),
            hook,
        )
        if text_BTD.shape[1]:
            text_BTD = self.mlp_branch(join(text_BTD, gate_t, taken_BTD), self.ff_context, mlp_t)
        image_BND = join(image_BND, gate_i, hook.restore_tokens(taken_BND))
        return text_BTD, self.mlp_branch(image_BND, self.ff, mlp_i, hook)

    @staticmethod
    def mlp_branch(
        x_BND: Tensor, mlp: nn.Module, modulation: list[Tensor], hook: BlockHook = NO_HOOK
    ) -> Tensor:
        """The MLP's branch."""
        shift_B1D, scale_B1D, gate_B1D = modulation
        mlp_out = mlp(hook.select_tokens(modulate(x_BND, shift_B1D, scale_B1D)))
        return join(x_BND, gate_B1D, hook.restore_tokens(mlp_out))


class SingleBlock(nn.Module):
    """Parallel attention and MLP over the joint sequence."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        width = sizes.width
        self.norm = Modulated(width, 3)
        self.attn = SelfAttention(sizes)
        self.proj_mlp = nn.Linear(width, 4 * width)
        self.proj_out = nn.Linear(5 * width, width)

    def forward(
        self,
        x_BND: Tensor,
        vector_BD: Tensor,
        rotary: Tensor,
        extra_value_BND: Tensor | None = None,
        hook: BlockHook = NO_HOOK,
    ) -> Tensor:
        """Same shape in and out; ``vector_BD`` is the activated condition.

        ``extra_value_BND`` is an additional input of the image's values; see `with_extra`.
        """
        shift_B1D, scale_B1D, gate_B1D = self.norm(vector_BD)
        seen = hook.select_tokens(modulate(x_BND, shift_B1D, scale_B1D))
        mlp_out = gelu(self.proj_mlp, seen, "tanh")
        taken = self.attn(
            seen, hook.select_rotary(rotary), hook.select_extra(extra_value_BND), hook
        )
        return join(x_BND, gate_B1D, hook.restore_tokens(self.project(taken, mlp_out)))

    def project(self, taken_BND: Tensor, mlp_out_BNM: Tensor) -> Tensor:
        """The shared output projection, without concatenating its two inputs."""
        if isinstance(self.proj_out, PackedLinear):
            return self.proj_out.product_of_parts((taken_BND, mlp_out_BNM))
        few = taken_BND.shape[:-1].numel() <= FEW_ROWS
        if few or torch.is_grad_enabled() or not isinstance(self.proj_out, nn.Linear):
            return self.proj_out(torch.cat([taken_BND, mlp_out_BNM], dim=-1))
        width, weight = taken_BND.shape[-1], self.proj_out.weight
        out_RD = F.linear(taken_BND.flatten(0, 1), weight[:, :width], self.proj_out.bias)
        out_RD.addmm_(mlp_out_BNM.flatten(0, 1), weight[:, width:].T)
        return out_RD.view_as(taken_BND)

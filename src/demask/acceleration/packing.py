"""Weights kept in the layout in which the CPU's matrix product reads them.

A matrix product first copies its operands into cache-sized panels. For one picture (257 rows at
MaskGIT-256) the copy of the weights is a fifth of the time, and it is the same at every step: MKL
can make it once. The result is the plain product's, up to float32 rounding.

Shape legend: N rows (tokens of all pictures), D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer with its weight packed for N rows; the state dict stays that of the layer.

    Any other number of rows, and training, take the plain product. The weight must not change
    afterwards: pack again.
    """

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        self.weight, self.bias, self.rows = linear.weight, linear.bias, rows
        self.packed = torch.ops.mkl._mkl_reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., out features), as `nn.Linear`."""
        if torch.is_grad_enabled() or x.numel() != self.rows * x.shape[-1]:
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkl._mkl_linear(x, self.packed, self.weight, self.bias, self.rows)


def can_pack(layer: nn.Module) -> bool:
    """Whether a layer is a float32 linear layer on the CPU, in a torch that can pack it."""
    return (
        type(layer) is nn.Linear
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkl, "_mkl_linear")
    )


def pack(module: nn.Module, rows: int) -> int:
    """Replace every linear layer inside a network by a `PackedLinear`.

    The packed copies double the memory of those weights. Nothing happens on a GPU, in another
    type than float32, or where torch has no MKL.

    Args:
        module: a network; it is changed.
        rows: N, the tokens of one call: the batch times the sequence.

    Returns:
        How many layers are packed now.
    """
    layers = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if can_pack(layer)
    ]
    for parent, name, layer in layers:
        assert isinstance(layer, nn.Linear)
        setattr(parent, name, PackedLinear(layer, rows))
    return len(layers)

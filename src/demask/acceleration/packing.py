"""Weights kept in the layout in which the CPU's matrix product reads them.

A matrix product first copies its operands into cache-sized panels. For one picture (257 rows at
MaskGIT-256) the copy of the weights is a fifth of the time, and it is the same at every step: MKL
can make it once. The result is the plain product's, up to float32 rounding, and depends on nothing
that was computed before.

Shape legend: N rows (tokens of all pictures), D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_ROWS = 1024  # with more, the copy no longer counts


@dataclass(frozen=True)
class Packed:
    """A weight packed for products with so many rows."""

    rows: int
    weight: Tensor


class PackedLinear(nn.Linear):
    """A linear layer whose weight is packed for the latest number of rows.

    The state dict stays that of the layer. Training, more than `MOST_ROWS` rows, another device
    and another type take the plain product. The weight must not change afterwards: pack again.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # no weights of its own
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.packed: Packed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., out features), as `nn.Linear`."""
        rows = x.numel() // x.shape[-1]
        plain = torch.is_grad_enabled() or rows > MOST_ROWS
        if plain or not x.is_cpu or x.dtype != torch.float32 or not self.weight.is_cpu:
            return F.linear(x, self.weight, self.bias)
        packed = self.packed
        if packed is None or packed.rows != rows:
            weight = torch.ops.mkl._mkl_reorder_linear_weight(self.weight.detach(), rows)
            packed = self.packed = Packed(rows, weight)
        return torch.ops.mkl._mkl_linear(x, packed.weight, self.weight, self.bias, rows)


def can_pack(layer: nn.Module) -> bool:
    """Whether a layer is a float32 linear layer on the CPU, in a torch that can pack it."""
    return (
        type(layer) is nn.Linear
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkl, "_mkl_linear")
    )


def pack(module: nn.Module) -> int:
    """Replace every linear layer inside a network by a `PackedLinear`.

    The packed copies, made at the first call, double the memory of those weights. Nothing happens
    on a GPU, in another type than float32, or where torch has no MKL.

    Args:
        module: a network; it is changed.

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
        setattr(parent, name, PackedLinear(layer))
    return len(layers)

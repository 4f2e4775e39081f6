"""A linear layer whose weight is kept in the layout in which the CPU's matrix product reads it.

A matrix product first copies its operands into cache-sized panels. For one image (257 rows at
MaskGIT-256) the copy of the weights is a fifth of the time, for a local step of few rows most of
it, and it is the same at every step: it can be made once. The result is the plain product's, up to
rounding, and depends on nothing that was computed before.

oneDNN's layout serves any number of rows; MKL's, which Intel's own processors read faster in
float32, only one number.

Shape legend: N rows (tokens of all images), D width, M output channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MKL_ROWS = range(256, 1025)
"""MKL's layout is for these numbers of rows: with more the copy no longer counts, and local steps
come with ever other numbers below."""


@cache
def is_intel() -> bool:
    """Whether Intel made this processor, as far as torch can tell."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "intel" in str(told.get("cpu_name", "intel")).lower()


@cache
def packable(dtype: torch.dtype) -> bool:
    """Whether this torch and processor multiply the type with packed weights."""
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    ):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def prefers_mkl(rows: int, dtype: torch.dtype) -> bool:
    """Whether MKL's layout is used for so many rows."""
    return (
        dtype == torch.float32
        and rows in MKL_ROWS
        and is_intel()
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkl, "_mkl_linear")
    )


class PackedLinear(nn.Linear):
    """A linear layer with packed copies of its weight, made when they are first used.

    The state dict stays that of the layer. Training, another device and another type than the
    weight's take the plain product. The weight must not change afterwards: pack again.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # no weights of its own
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.packed: dict[tuple[int, int], Tensor] = {}
        self.packed_mkl: tuple[int, Tensor] | None = None

    def serves(self, x: Tensor) -> bool:
        """Whether an input is multiplied with a packed weight."""
        return (
            not torch.is_grad_enabled()
            and x.is_cpu
            and self.weight.is_cpu
            and x.dtype == self.weight.dtype
            and x.numel() > 0
            and packable(x.dtype)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., M), as `nn.Linear`."""
        if not self.serves(x):
            return F.linear(x, self.weight, self.bias)
        rows = x.numel() // x.shape[-1]
        if prefers_mkl(rows, x.dtype):
            return self.product_mkl(x, rows)
        return self.product(x)

    def gelu(self, x: Tensor, approximate: str = "none") -> Tensor:
        """GELU of what comes out, in the same pass over memory; see `gelu`."""
        return self.product(x, "gelu", approximate)

    def product(
        self, x: Tensor, then: str = "none", how: str = "", start: int = 0, bias: bool = True
    ) -> Tensor:
        """oneDNN's product with some columns of the weight, and what is to be done with it.

        Args:
            x: (..., columns).
            then: an activation, or ``none``.
            how: its variant.
            start: the first column.
            bias: add it.
        """
        weight = self.columns(start, start + x.shape[-1])
        added_M = self.bias if bias else None
        return torch.ops.mkldnn._linear_pointwise(x, weight, added_M, then, [], how)

    def product_of_parts(self, parts: Sequence[Tensor]) -> Tensor:
        """As ``forward`` of the parts joined along their last dimension, which are not joined."""
        if not self.serves(parts[0]):
            return self(torch.cat(list(parts), dim=-1))
        out, start = self.product(parts[0]), parts[0].shape[-1]
        for part in parts[1:]:
            weight = self.columns(start, start + part.shape[-1])
            out = torch.ops.mkldnn._linear_pointwise.binary(part, out, weight, None, "add")
            start += part.shape[-1]
        return out

    def columns(self, start: int, end: int) -> Tensor:
        """The packed copy of some columns of the weight."""
        if (start, end) not in self.packed:
            weight = self.weight.detach()[:, start:end].contiguous()
            self.packed[start, end] = torch.ops.mkldnn._reorder_linear_weight(weight)
        return self.packed[start, end]

    def product_mkl(self, x: Tensor, rows: int) -> Tensor:
        """MKL's product, for the latest number of rows."""
        if self.packed_mkl is None or self.packed_mkl[0] != rows:
            weight = torch.ops.mkl._mkl_reorder_linear_weight(self.weight.detach(), rows)
            self.packed_mkl = rows, weight
        return torch.ops.mkl._mkl_linear(x, self.packed_mkl[1], self.weight, self.bias, rows)

    def forget(self) -> None:
        """Drop the packed copies."""
        self.packed, self.packed_mkl = {}, None

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        self.forget()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """For copies: torch cannot copy a packed weight."""
        return {**self.__dict__, "packed": {}, "packed_mkl": None}


def gelu(layer: nn.Module, x: Tensor, approximate: str = "none") -> Tensor:
    """GELU of what a linear layer makes of its input; without gradients in no fresh memory.

    Args:
        layer: fuses both where it can.
        x: its input.
        approximate: ``none`` or ``tanh``.
    """
    if isinstance(layer, PackedLinear) and layer.serves(x):
        return layer.gelu(x, approximate)
    out = layer(x)
    if torch.is_grad_enabled():
        return F.gelu(out, approximate=approximate)
    return torch.ops.aten.gelu_(out, approximate=approximate)

"""A linear layer with weights packed for the CPU's matrix product.

A matrix product first copies its operands into cache-sized panels. For one image (257 rows at
MaskGIT-256) copying the weights takes a fifth of the time; in a local step with few rows, most of
it. The copy is the same in every step, so it is made once. The result equals the plain product up
to rounding and does not depend on earlier calls.

oneDNN's layout works for any number of rows. MKL's, which is faster in float32 on Intel processors,
is made for one number of rows.

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
"""MKL's layout is used for these numbers of rows: above, the copy is negligible; below, local steps
vary in their number of rows."""


@cache
def is_intel() -> bool:
    """Whether this is an Intel processor, according to torch."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "intel" in str(capabilities.get("cpu_name", "intel")).lower()


@cache
def packable(dtype: torch.dtype) -> bool:
    """Whether this torch build and processor support packed weights of a dtype."""
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    ):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def prefers_mkl(rows: int, dtype: torch.dtype) -> bool:
    """Whether MKL's layout is used for this number of rows."""
    return (
        dtype == torch.float32
        and rows in MKL_ROWS
        and is_intel()
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkl, "_mkl_linear")
    )


class PackedLinear(nn.Linear):
    """A linear layer with packed copies of its weight, made at the first use.

    The state dict is that of the layer. In training, on another device or for another dtype it uses
    the plain product. If the weight changes, the layer must be packed again.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # shares the weights of the layer
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.packed: dict[tuple[int, int], Tensor] = {}
        self.packed_mkl: tuple[int, Tensor] | None = None

    def serves(self, x: Tensor) -> bool:
        """Whether an input uses the packed weight."""
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
        """The layer followed by GELU, fused; see `gelu`."""
        return self.product(x, "gelu", approximate)

    def product(
        self, x: Tensor, then: str = "none", how: str = "", start: int = 0, bias: bool = True
    ) -> Tensor:
        """oneDNN's product with a range of columns of the weight.

        Args:
            x: (..., columns).
            then: an activation, or ``none``.
            how: variant of the activation.
            start: the first column.
            bias: whether to add the bias.
        """
        weight = self.columns(start, start + x.shape[-1])
        added_M = self.bias if bias else None
        return torch.ops.mkldnn._linear_pointwise(x, weight, added_M, then, [], how)

    def product_of_parts(self, parts: Sequence[Tensor]) -> Tensor:
        """As ``forward`` of the parts concatenated along the last dimension, without the copy."""
        if not self.serves(parts[0]):
            return self(torch.cat(list(parts), dim=-1))
        out, start = self.product(parts[0]), parts[0].shape[-1]
        for part in parts[1:]:
            weight = self.columns(start, start + part.shape[-1])
            out = torch.ops.mkldnn._linear_pointwise.binary(part, out, weight, None, "add")
            start += part.shape[-1]
        return out

    def columns(self, start: int, end: int) -> Tensor:
        """The packed copy of a range of columns."""
        if (start, end) not in self.packed:
            weight = self.weight.detach()[:, start:end].contiguous()
            self.packed[start, end] = torch.ops.mkldnn._reorder_linear_weight(weight)
        return self.packed[start, end]

    def product_mkl(self, x: Tensor, rows: int) -> Tensor:
        """MKL's product, packed for the latest number of rows."""
        if self.packed_mkl is None or self.packed_mkl[0] != rows:
            weight = torch.ops.mkl._mkl_reorder_linear_weight(self.weight.detach(), rows)
            self.packed_mkl = rows, weight
        return torch.ops.mkl._mkl_linear(x, self.packed_mkl[1], self.weight, self.bias, rows)

    def forget(self) -> None:
        """Drop the packed copies."""
        self.packed, self.packed_mkl = {}, None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.forget()
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        self.forget()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Drop packed weights, which torch cannot copy."""
        return {**self.__dict__, "packed": {}, "packed_mkl": None}


def gelu(layer: nn.Module, x: Tensor, approximate: str = "none") -> Tensor:
    """A linear layer followed by GELU; without gradients, GELU is computed in place.

    Args:
        layer: the layer; a packed one fuses both.
        x: the input.
        approximate: ``none`` or ``tanh``.
    """
    if isinstance(layer, PackedLinear) and layer.serves(x):
        return layer.gelu(x, approximate)
    out = layer(x)
    if torch.is_grad_enabled():
        return F.gelu(out, approximate=approximate)
    return torch.ops.aten.gelu_(out, approximate=approximate)

"""A linear layer with 8- or 4-bit weights, multiplied in 8 bits where the CPU supports it.

Weights: int8 codes with one scale per row (output channel). For 4 bits there is a second level: in
each group of columns, a code of -7..7 times a small integer gives the int8 code, as in QServe
(arXiv 2405.04532, section 4.1). So the integer product handles both.

Activations: unquantized, or int8 with one scale per row (token). A scale for the whole tensor would
make an image depend on its batch.

Shape legend: N rows (tokens of all images), K input channels, M output channels, G groups of
columns, J half the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOP = 127
ZERO = 128
"""The engine takes unsigned activations with a zero point of 128."""


@dataclass(frozen=True)
class Precision:
    """The precision of a linear layer.

    Attributes:
        bits: bits of a weight, 8 or 4.
        activations: 8 for int8 activations; None for unquantized ones.
        group: columns that share a group scale of 4-bit weights; 0 for 8 bits.
    """

    bits: int
    activations: int | None = None
    group: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or self.activations not in (None, 8):
            raise ValueError(f"weights of 8 or 4 bits, activations of 8 or none, not {self}")
        if (self.bits == 4) != (self.group > 0):
            raise ValueError(f"4 bits come in groups, 8 bits do not: {self}")


class QuantizedLinear(nn.Module):
    """A quantized linear layer; its values are set by `fill` or loaded from a checkpoint.

    The scales and the bias are trainable, the codes are not.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool, precision: Precision
    ) -> None:
        super().__init__()
        if precision.bits == 4 and (in_features % 2 or in_features % precision.group):
            raise ValueError(f"groups of {precision.group} do not divide {in_features} columns")
        self.in_features, self.out_features = in_features, out_features
        self.precision = precision
        four = precision.bits == 4
        columns = in_features // 2 if four else in_features
        dtype = torch.uint8 if four else torch.int8
        self.register_buffer("codes", torch.empty(out_features, columns, dtype=dtype))
        groups = torch.empty(out_features, in_features // precision.group if four else 0)
        self.register_buffer("groups", groups.to(torch.int8) if four else None)
        self.scale = nn.Parameter(torch.empty(out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.packed: Tensor | None = None

    @property
    def int8(self) -> Tensor:
        """The weight as int8 codes of -127..127, (M, K)."""
        if self.groups is None:
            return self.codes
        return unpack_four(self.codes, self.groups)

    @property
    def weight(self) -> Tensor:
        """The weight in floating point (M, K), computed at each call."""
        return self.int8.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., M), as `nn.Linear`."""
        if self.precision.activations is None:
            return self.floating(x)
        if torch.is_grad_enabled() or not (x.is_cpu and has_engine()):
            return self.floating(rounded(x))
        out_NM = self.product(x.flatten(0, -2))
        return out_NM.to(x.dtype).unflatten(0, x.shape[:-1])

    def floating(self, x: Tensor) -> Tensor:
        """The product in the dtype of the input."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)

    def product(self, x_NK: Tensor) -> Tensor:
        """The integer product, scaled by row and column: (N, M) in float32."""
        codes_NK, scale_N1 = to_rows(x_NK.float())
        packed = self.packed
        if packed is None:
            packed = pack_int8(self.int8)
            if (
                self.precision.bits == 8
            ):  # 4-bit weights save memory, so they are packed only for the call
                self.packed = packed
        out_NM = multiply(codes_NK, packed, self.scale.float())
        if self.bias is None:
            return out_NM.mul_(scale_N1)
        return torch.addcmul(self.bias.float(), out_NM, scale_N1, out=out_NM)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.packed = None  # a copy of the weights before
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> QuantizedLinear:
        self.packed = None
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def fill(
        self,
        int8_MK: Tensor,
        scale_M: Tensor,
        bias_M: Tensor | None,
        power_K: Tensor | None = None,
    ) -> QuantizedLinear:
        """Set int8 codes and row scales; 4-bit codes are rounded from them.

        ``power_K`` weights the error of each column; see `pack_four`.
        """
        self.packed = None
        if self.precision.bits == 4:
            self.codes, self.groups = pack_four(int8_MK, self.precision.group, power_K)
        else:
            self.codes = int8_MK.contiguous()
        self.scale = nn.Parameter(scale_M)
        if bias_M is not None:
            self.bias = nn.Parameter(bias_M.detach().clone())
        return self

    def extra_repr(self) -> str:
        """For `print`."""
        return f"{self.in_features}, {self.out_features}, {self.precision}"


def to_rows(x_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize rows: unsigned 8-bit codes with a zero point of 128, and row scales (N, 1)."""
    scale_N1 = row_scale(x_NK)
    return (x_NK / scale_N1).round_().add_(ZERO).to(torch.uint8), scale_N1


def row_scale(x: Tensor) -> Tensor:
    """The scale that maps the largest magnitude of a row to 127."""
    tiny = torch.finfo(torch.float32).tiny
    return (x.abs().amax(-1, keepdim=True) / TOP).clamp_min(tiny)


def rounded(x: Tensor) -> Tensor:
    """Round each row to 8 bits; straight-through gradients."""
    wide = x.detach().float()
    scale = row_scale(wide)
    kept = ((wide / scale).round_() * scale).to(x.dtype)
    return x + (kept - x).detach() if torch.is_grad_enabled() else kept


def pack_int8(int8_MK: Tensor) -> Tensor:
    """Pack an int8 weight for the engine."""
    return torch.ops.onednn.qlinear_prepack(int8_MK.contiguous(), None)


def multiply(codes_NK: Tensor, packed: Tensor, scale_M: Tensor) -> Tensor:
    """(codes - 128) times the packed weight, times the column scales, in float32."""
    zeros_M = torch.zeros(len(scale_M), dtype=torch.int64)
    return torch.ops.onednn.qlinear_pointwise(
        *(codes_NK, 1.0, ZERO, packed, scale_M, zeros_M, None),
        *(1.0, 0, torch.float32, "none", [], ""),
    )


@cache
def has_engine() -> bool:
    """Whether this torch build and CPU multiply 8 bits exactly.

    Older CPUs add pairs of products in 16 bits, which overflow for the largest numbers.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.onednn, "qlinear_prepack"):
        return False
    codes_NK = torch.full((4, 64), 255, dtype=torch.uint8)
    int8_MK = torch.full((16, 64), TOP, dtype=torch.int8)
    try:
        out_NM = multiply(codes_NK, pack_int8(int8_MK), torch.ones(16))
    except (RuntimeError, NotImplementedError):
        return False
    return bool((out_NM == TOP * TOP * 64).all())


def pack_four(int8_MK: Tensor, group: int, power_K: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pack int8 codes as two 4-bit codes per byte (M, J), with a factor per group (M, G), int8.

    Byte j holds columns j and j + K / 2. Each group gets the factor of the least squared error.

    Args:
        int8_MK: the codes.
        group: columns per group.
        power_K: weight of each column's error, its mean square; default: equal weights.
    """
    whole_MGk = int8_MK.float().unflatten(1, (-1, group))
    weight_Gk = torch.ones(int8_MK.shape[1]) if power_K is None else power_K.float()
    weight_Gk = weight_Gk.to(int8_MK.device).unflatten(0, (-1, group))
    top_MG = whole_MGk.abs().amax(-1)
    best_MG = torch.full_like(top_MG, float("inf"))
    factor_MG = torch.ones_like(top_MG)
    for tight in (1.0, 0.94, 0.88, 0.82, 0.76, 0.7):
        tried_MG = (top_MG * tight / 7).round().clamp_min(1)
        error_MGk = four(whole_MGk, tried_MG) * tried_MG[..., None] - whole_MGk
        error_MG = (error_MGk.square() * weight_Gk).sum(-1)
        factor_MG = torch.where(error_MG < best_MG, tried_MG, factor_MG)
        best_MG = torch.minimum(error_MG, best_MG)
    low_MJ, high_MJ = four(whole_MGk, factor_MG).flatten(1).add(8).to(torch.uint8).chunk(2, 1)
    return low_MJ | (high_MJ << 4), factor_MG.to(torch.int8)


def four(whole_MGk: Tensor, factor_MG: Tensor) -> Tensor:
    """The nearest codes of -7..7 to int8 codes, given the factor of each group."""
    return (whole_MGk / factor_MG[..., None]).round().clamp(-7, 7)


def unpack_four(codes_MJ: Tensor, factor_MG: Tensor) -> Tensor:
    """Unpack the int8 codes (M, K) of `pack_four`."""
    rows, half = codes_MJ.shape
    int8_MK = torch.empty(rows, 2 * half, dtype=torch.int8, device=codes_MJ.device)
    int8_MK[:, :half] = codes_MJ & 15
    int8_MK[:, half:] = codes_MJ >> 4
    int8_MK.sub_(8).unflatten(1, (factor_MG.shape[1], -1)).mul_(factor_MG[..., None])
    return int8_MK

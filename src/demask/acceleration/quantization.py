"""Quantization: which linear layers store 8- or 4-bit weights, and which multiply in 8 bits.

Only linear layers inside the blocks are quantized, not embeddings, norms, input and output layers.
"Low precision with secondary calibration" (SCQ, arXiv 2411.10781) is the scheme ``w4a8``: its
second calibration is in `demask.acceleration.quantization_calibration`.

Shape legend: M output channels, K input channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demask.registry import Table
from demask.transformer.quantized_linear import Precision, QuantizedLinear, row_scale

GROUP = 32
"""Columns that share a group scale of 4-bit weights, or the next smaller divisor."""
SHARE = 119 / 358
"""Fraction of layers with int8 activations under ``w4a8``, as released for Meissonic."""

Rows = Callable[[nn.Linear], tuple[Tensor, Tensor]]
"""Rounds a weight to int8: codes (M, K) and one scale per row (M)."""


@dataclass(frozen=True)
class Scheme:
    """A quantization scheme.

    Attributes:
        bits: bits of every weight inside the blocks.
        share: fraction of layers with int8 activations; the others multiply in floating point.
        calibrated: whether it is calibrated on images.
    """

    bits: int
    share: float
    calibrated: bool


SCHEMES: Table[Scheme] = Table(
    "scheme",
    {
        "int8": Scheme(8, 1.0, calibrated=False),
        "int4": Scheme(4, 0.0, calibrated=True),
        "w4a8": Scheme(4, SHARE, calibrated=True),
    },
)


def linear_layers(network: nn.Module) -> Iterator[tuple[nn.Module, str, str, nn.Linear]]:
    """The linear layers inside the blocks: parent module, name in the parent, and full name.

    Blocks are the modules of the network's own `nn.ModuleList`s.
    """
    for list_name, blocks in network.named_children():
        if not isinstance(blocks, nn.ModuleList):
            continue
        for inside, parent in list(blocks.named_modules(prefix=list_name)):
            for name, layer in list(parent.named_children()):
                if type(layer) is nn.Linear:
                    yield parent, name, f"{inside}.{name}", layer


def quantized_layers(network: nn.Module) -> dict[str, QuantizedLinear]:
    """The quantized layers by name; empty for an unquantized network."""
    return {n: m for n, m in network.named_modules() if isinstance(m, QuantizedLinear)}


def own_rows(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Symmetric int8 per row: the largest magnitude maps to 127."""
    weight_MK = layer.weight.detach().float()
    scale_M1 = row_scale(weight_MK)
    return (weight_MK / scale_M1).round().to(torch.int8), scale_M1[:, 0]


@torch.no_grad()
def quantize(
    network: nn.Module,
    scheme: Scheme,
    powers: Mapping[str, Tensor] | None = None,
    rows: Rows = own_rows,
) -> int:
    """Replace the linear layers inside a network's blocks by quantized ones.

    They get int8 activations only if the scheme has a share of 1; see `calibrate` otherwise.

    Args:
        network: modified in place.
        scheme: a row of `SCHEMES`.
        powers: the mean square (K) of each input channel by layer name, for 4 bits.
        rows: rounds a weight to int8.

    Returns:
        The number of replaced layers.
    """
    count = 0
    for parent, name, path, layer in linear_layers(network):
        precision = precision_of(scheme, layer.in_features)
        if precision is None:
            continue
        low = QuantizedLinear(
            layer.in_features, layer.out_features, layer.bias is not None, precision
        )
        codes_MK, scale_M = rows(layer)
        low.fill(codes_MK, scale_M, layer.bias, (powers or {}).get(path))
        setattr(parent, name, low.to(layer.weight.device).requires_grad_(False).eval())
        count += 1
    return count


def precision_of(scheme: Scheme, columns: int) -> Precision | None:
    """The precision of a layer with this many columns; None if 4 bits do not fit."""
    activations = 8 if scheme.share == 1 else None
    if scheme.bits == 8:
        return Precision(8, activations)
    group = max(g for g in range(1, GROUP + 1) if columns % g == 0)
    return None if columns % 2 or group < 8 else Precision(4, activations, group)

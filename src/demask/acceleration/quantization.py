"""Low precision: which linear layers are kept in 8 or 4 bits, and which multiply in 8 bits.

Everything inside the blocks; the ways in and out, the embeddings and the norms stay as they are.
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
"""Columns that share the second scale of 4-bit weights, or the next smaller number that fits."""
SHARE = 119 / 358
"""Of the layers that multiply in 8 bits under ``w4a8``, as in the list released for Meissonic."""

Rows = Callable[[nn.Linear], tuple[Tensor, Tensor]]
"""How a weight becomes int8: its codes (M, K) and the scale of each row (M)."""


@dataclass(frozen=True)
class Scheme:
    """Bits of the weights, and where activations have 8 bits.

    Attributes:
        bits: of every weight inside the blocks.
        share: of the layers have int8 activations; the others multiply in floating point.
        calibrated: it looks at images before it rounds.
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
    """The plain linear layers inside the blocks: the module around each, its name there and whole.

    Blocks are what a network lists in a `nn.ModuleList` of its own.
    """
    for list_name, blocks in network.named_children():
        if not isinstance(blocks, nn.ModuleList):
            continue
        for inside, parent in list(blocks.named_modules(prefix=list_name)):
            for name, layer in list(parent.named_children()):
                if type(layer) is nn.Linear:
                    yield parent, name, f"{inside}.{name}", layer


def quantized_layers(network: nn.Module) -> dict[str, QuantizedLinear]:
    """The layers of low precision by their names; none in an ordinary network."""
    return {n: m for n, m in network.named_modules() if isinstance(m, QuantizedLinear)}


def own_rows(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Symmetric int8, the largest number of a row becoming 127."""
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
    """Replace the linear layers inside a network's blocks by quantized ones, one after the other.

    All get int8 activations if the scheme gives them to all, else none does yet.

    Args:
        network: it is changed.
        scheme: the bits.
        powers: the mean square (K) of each input channel of the layers, for four bits.
        rows: how a weight is rounded to int8.

    Returns:
        How many layers were replaced.
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
    """How a layer of so many columns is kept; None for one that cannot be halved."""
    activations = 8 if scheme.share == 1 else None
    if scheme.bits == 8:
        return Precision(8, activations)
    group = max(g for g in range(1, GROUP + 1) if columns % g == 0)
    return None if columns % 2 or group < 8 else Precision(4, activations, group)

"""Round weights with torchao, which is imported only here, for `demask quantize`.

Its layers are not used for inference: without compilation they take about twice as long on a CPU as
`demask.transformer.quantized_linear` (docs/methods/low_precision.md).

Shape legend: M output channels, K input channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from demask.quiet import quiet_torchao


def torchao_rows(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Int8 codes (M, K) and the scale of each row (M), by ``Int8WeightOnlyConfig``.

    Raises:
        ValueError: torchao is not installed.
    """
    try:
        with quiet_torchao():
            from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ModuleNotFoundError:
        raise ValueError("this needs torchao: pip install 'demask[quantization]'") from None
    alone = nn.Sequential(nn.Linear(layer.in_features, layer.out_features, False, device="meta"))
    alone[0].weight = nn.Parameter(layer.weight.detach().float(), requires_grad=False)
    quantize_(alone, Int8WeightOnlyConfig(set_inductor_config=False))
    weight: Any = alone[0].weight
    return weight.qdata.detach().clone(), weight.scale.detach().float().flatten()

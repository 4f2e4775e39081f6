"""Round weights with torchao, which is imported only here, for `demask quantize`.

Its layers are not used for inference: without compilation they take about twice as long on a CPU as
`demask.transformer.quantized_linear` (docs/methods/low_precision.md).

Shape legend: M output channels, K input channels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def torchao_rows(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Int8 codes (M, K) and the scale of each row (M), by ``Int8WeightOnlyConfig``.

    Raises:
        ValueError: torchao is not installed.
    """
    try:
        with quiet("torchao", "torch.utils._pytree"):
            from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ModuleNotFoundError:
        raise ValueError("this needs torchao: pip install 'demask[quantization]'") from None
    alone = nn.Sequential(nn.Linear(layer.in_features, layer.out_features, False, device="meta"))
    alone[0].weight = nn.Parameter(layer.weight.detach().float(), requires_grad=False)
    quantize_(alone, Int8WeightOnlyConfig(set_inductor_config=False))
    weight: Any = alone[0].weight
    return weight.qdata.detach().clone(), weight.scale.detach().float().flatten()


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """A context that silences torchao's warnings about other hardware and deprecated names."""
    logs = [logging.getLogger(name) for name in names]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)

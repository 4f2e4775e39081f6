"""Read matrices that were stored as int8 with row scales; see `eight_bit`."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".row_scale"
"""Suffix of the name of the tensor with a matrix's row scales."""


def expand_rows(tensors: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Convert int8 matrices back to floating point.

    Args:
        tensors: tensors, some of them int8 with a tensor of row scales.
        dtype: dtype of the result; by default that of the scales.
    """
    scales = {name: t for name, t in tensors.items() if name.endswith(SCALE)}
    if not scales:
        return tensors
    expanded = {name: t for name, t in tensors.items() if name not in scales}
    for name, scale in scales.items():
        matrix = expanded.get(name.removesuffix(SCALE))
        if matrix is None or matrix.dtype != torch.int8 or len(matrix) != len(scale):
            expanded[name] = scale  # not ours: reported as unexpected when the network is built
            continue
        shape = (-1, *(1,) * (matrix.ndim - 1))
        whole = matrix.to(scale.dtype) * scale.view(shape)
        expanded[name.removesuffix(SCALE)] = whole if dtype is None else whole.to(dtype)
    return expanded

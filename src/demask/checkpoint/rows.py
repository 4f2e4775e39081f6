"""Read matrices that were stored as integers with a scale a row; see `eight_bit`."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".row_scale"
"""Behind the name of a matrix: the tensor that holds the scale of each of its rows."""


def expand_rows(tensors: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The tensors, with stored integers multiplied out.

    Args:
        tensors: some of them int8, each with its row scales beside it.
        dtype: of the result; by default that of the scales.
    """
    scales = {name: t for name, t in tensors.items() if name.endswith(SCALE)}
    if not scales:
        return tensors
    expanded = {name: t for name, t in tensors.items() if name not in scales}
    for name, scale in scales.items():
        matrix = expanded.get(name.removesuffix(SCALE))
        if matrix is None or matrix.dtype != torch.int8 or len(matrix) != len(scale):
            expanded[name] = scale  # not ours: the network will say that it knows no such tensor
            continue
        shape = (-1, *(1,) * (matrix.ndim - 1))
        whole = matrix.to(scale.dtype) * scale.view(shape)
        expanded[name.removesuffix(SCALE)] = whole if dtype is None else whole.to(dtype)
    return expanded

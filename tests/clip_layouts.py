"""The way back from the names of transformers' CLIP to those of open_clip, for test files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from demask.evaluation.open_clip import TOWERS, TRANSPOSED, key_map, layers_of


def to_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    layers = (layers_of(tensors, f"{tower}.encoder.layers") for tower in TOWERS.values())
    found = {}
    for theirs, ours in key_map(*layers).items():
        tensor = torch.cat([tensors[name] for name in ours]) if len(ours) > 1 else tensors[ours[0]]
        found[theirs] = (tensor.T if theirs in TRANSPOSED else tensor).contiguous()
    return found

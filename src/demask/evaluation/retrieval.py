"""How well features of images and of words find each other.

Shape legend: D width of the features, K candidates, N pairs or images.
"""

from __future__ import annotations

import torch
from torch import Tensor


def found(query_ND: Tensor, candidate_KD: Tensor, right_NK: Tensor) -> float:
    """How many queries are nearest to a candidate that is right, 0 to 1 (top-1 retrieval).

    Args:
        query_ND: features, of length 1.
        candidate_KD: of length 1 too.
        right_NK: which candidates answer each query.
    """
    best_N = (query_ND.float() @ candidate_KD.float().T).argmax(-1)
    return float(right_NK[torch.arange(len(best_N)), best_N].double().mean())


def nearest_label(image_ND: Tensor, real_KD: Tensor, label_K: Tensor) -> Tensor:
    """The label (N) of the real image that each image is nearest to."""
    parts = [torch.cdist(part, real_KD).argmin(-1) for part in image_ND.split(256)]
    return label_K[torch.cat(parts)]

"""Top-1 retrieval by features of images and of texts.

Shape legend: D width of the features, K candidates, N pairs or images.
"""

from __future__ import annotations

import torch
from torch import Tensor


def found(query_ND: Tensor, candidate_KD: Tensor, right_NK: Tensor) -> float:
    """The fraction of queries whose nearest candidate is right (top-1 retrieval).

    Args:
        query_ND: normalised features.
        candidate_KD: normalised features.
        right_NK: booleans, the right candidates of each query.
    """
    best_N = (query_ND.float() @ candidate_KD.float().T).argmax(-1)
    return float(right_NK[torch.arange(len(best_N)), best_N].double().mean())


def nearest_label(image_ND: Tensor, real_KD: Tensor, label_K: Tensor) -> Tensor:
    """The label (N) of the real image that is nearest to each image, by Euclidean distance."""
    parts = [torch.cdist(part, real_KD).argmin(-1) for part in image_ND.split(256)]
    return label_K[torch.cat(parts)]

"""Statistics of features and of proportions, which several metrics share.

Shape legend: B block, D width of the features, k nearest neighbours, N samples, R reference images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1024
"""Rows of a kernel matrix or a distance matrix that are in memory at a time."""
PRECISION_K, DENSITY_K = 3, 5
"""k of the k-th nearest neighbour, whose distance is the radius of a ball: for precision and recall
(arXiv 1904.06991), and for density and coverage (arXiv 2002.09797)."""

NORMAL_95 = 1.96
"""Standard deviations around the mean that hold 95 % of a normal distribution."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson, "Probable inference", 1927).

    It lies within 0 and 1, and its width is positive for 0 and for ``count`` hits.

    Raises:
        ValueError: not 0 <= hits <= count, or a count of 0.
    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"{hits} of {count} is no share; valid: 0 to count, of at least 1")
    share, z = hits / count, NORMAL_95
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # exactly 0 or 1 where rounding would give nearly so
    low = 0.0 if hits == 0 else (centre - spread) / scale
    return low, 1.0 if hits == count else (centre + spread) / scale


def moments(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D), and covariance (D, D) with the divisor N - 1."""
    mean_D = features_ND.mean(0)
    centred_ND = features_ND - mean_D
    return mean_D, centred_ND.T @ centred_ND / (len(features_ND) - 1)


def symmetric_root(matrix_DD: Tensor) -> Tensor:
    """The square root of a positive semi-definite matrix."""
    values_D, vectors_DD = torch.linalg.eigh(matrix_DD)
    return (vectors_DD * values_D.clamp_min(0).sqrt()) @ vectors_DD.T


def kernel_among(features_RD: Tensor) -> float:
    """The mean kernel of all pairs of two different images."""
    total, count = 0.0, len(features_RD)
    for start in range(0, count, BLOCK):
        # each pair of blocks once: the kernel is symmetric
        block_BD, later_RD = features_RD[start : start + BLOCK], features_RD[start + BLOCK :]
        kernel_BB = cubic_kernel(block_BD, block_BD)
        total += float(kernel_BB.fill_diagonal_(0).sum(dtype=torch.float64))
        total += 2 * float(cubic_kernel(block_BD, later_RD).sum(dtype=torch.float64))
    return total / (count * (count - 1))


def cubic_kernel(x_BD: Tensor, y_ND: Tensor) -> Tensor:
    """``(x y / D + 1)^3``, (B, N)."""
    scaled_BN = x_BD @ y_ND.T / x_BD.shape[1] + 1
    return scaled_BN * scaled_BN * scaled_BN


def nearest(features_ND: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest other samples of each: distances and indices (N, k), nearest first."""
    found_distances, found = [], []
    for start, distance_BN in distances(features_ND, features_ND):
        distance_BN.diagonal(start).fill_(torch.inf)
        distance_Bk, index_Bk = distance_BN.topk(k, largest=False)
        found_distances.append(distance_Bk)
        found.append(index_Bk)
    return torch.cat(found_distances), torch.cat(found)


def distances(x_ND: Tensor, y_RD: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of the Euclidean distances of x to y: the first row of x, and distances (B, R)."""
    for start in range(0, len(x_ND), BLOCK):
        yield start, torch.cdist(x_ND[start : start + BLOCK], y_RD)

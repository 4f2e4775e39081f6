"""Metrics of nearest neighbours: precision, recall, density and coverage.

Precision and recall: "Improved Precision and Recall Metric for Assessing Generative Models" (arXiv
1904.06991), section 3. Density and coverage: "Reliable Fidelity and Diversity Metrics for
Generative Models" (arXiv 2002.09797), section 3.

The ball of an image is centred at its features; its radius is the distance of the k-th nearest
other image of the same set.

Shape legend: B block, D width of the features, M choices of samples, N samples, R reference
images, T nearest samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask.evaluation.class_scores import mean_of
from demask.evaluation.reference import Reference
from demask.evaluation.statistics import DENSITY_K, PRECISION_K, distances, nearest

REMEMBERED = 32
"""How many nearest samples of each are searched for the k-th that a choice kept."""


def precision(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """The fraction of samples that lie in a ball of the reference, (M)."""
    return mean_of((balls_around(sample_ND, reference, PRECISION_K) > 0).double(), kept_MN)


def density(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """The mean number of reference balls that contain a sample, divided by k; 1 is ideal, (M)."""
    return mean_of(balls_around(sample_ND, reference, DENSITY_K) / DENSITY_K, kept_MN)


def recall(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """The fraction of reference images that lie in a ball of the kept samples, (M).

    The radius of a ball is the distance of the third nearest *kept* sample.
    """
    radius_MN = kept_radii(sample_ND, kept_MN, PRECISION_K)
    inside_M = torch.zeros(len(kept_MN), dtype=torch.float64)
    for _, distance_BN in distances(reference.features_RD, sample_ND):
        for choice, radius_N in enumerate(radius_MN):
            inside_M[choice] += (distance_BN < radius_N).any(1).sum()
    return inside_M / len(reference.features_RD)


def coverage(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """The fraction of reference balls that contain a kept sample, (M)."""
    radius_R = reference.radius_R(DENSITY_K)
    kept_NM = kept_MN.to(sample_ND.dtype).T.contiguous()
    covered_M = torch.zeros(len(kept_MN), dtype=torch.float64)
    for start, distance_BN in distances(reference.features_RD, sample_ND):
        inside_BN = distance_BN < radius_R[start : start + len(distance_BN), None]
        covered_M += (inside_BN.to(sample_ND.dtype) @ kept_NM > 0).double().sum(0)
    return covered_M / len(reference.features_RD)


def balls_around(sample_ND: Tensor, reference: Reference, k: int) -> Tensor:
    """The number of reference balls that contain each sample, (N), float64."""
    radius_R = reference.radius_R(k)
    counts = [
        (distance_BR < radius_R).sum(1).double()
        for _, distance_BR in distances(sample_ND, reference.features_RD)
    ]
    return torch.cat(counts)


def kept_radii(sample_ND: Tensor, kept_MN: Tensor, k: int) -> Tensor:
    """The distance of each sample's k-th nearest kept sample, (M, N); -1 for samples not kept."""
    distance_NT, index_NT = nearest(sample_ND, min(REMEMBERED, len(sample_ND) - 1))
    radii = []
    for kept_N in kept_MN:
        before_NT = kept_N[index_NT].cumsum(1) < k
        position_N = before_NT.sum(1).clamp_max(distance_NT.shape[1] - 1)
        radius_N = distance_NT.gather(1, position_N[:, None])[:, 0]
        radii.append(torch.where(kept_N, radius_N, -1.0))
    return torch.stack(radii)

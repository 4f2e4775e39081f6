"""The Fréchet distance of two Gaussians that are fitted to two sets of features.

"GANs Trained by a Two Time-Scale Update Rule" (arXiv 1706.08500), equation 6. With the features of
Inception v3 it is the FID.

Shape legend: D width of the features, M choices of samples, N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask.evaluation.reference import Reference
from demask.evaluation.statistics import moments


def frechet(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of each choice of samples.

    The trace of the root equals that of ``(C2^(1/2) C1 C2^(1/2))^(1/2)``, which is symmetric and so
    has real eigenvalues; ``C2^(1/2)`` of the reference is computed only once.

    Args:
        sample_ND: features of the samples.
        reference: the features of the reference.
        kept_MN: booleans, the samples of each choice.

    Returns:
        Distances (M), float64.
    """
    mean_D, covariance_DD, root_DD = reference.gaussian
    distances = []
    for kept_N in kept_MN:
        sample_mean_D, sample_covariance_DD = moments(sample_ND[kept_N].double())
        between_D = torch.linalg.eigvalsh(root_DD @ sample_covariance_DD @ root_DD)
        apart = (sample_mean_D - mean_D).square().sum()
        spread = covariance_DD.trace() + sample_covariance_DD.trace()
        distances.append(apart + spread - 2 * between_D.clamp_min(0).sqrt().sum())
    return torch.stack(distances).clamp_min(0)

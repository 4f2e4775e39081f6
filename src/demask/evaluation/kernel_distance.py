"""The kernel distance of two sets of features: an unbiased squared maximum mean discrepancy.

"Demystifying MMD GANs" (arXiv 1801.01401), section 3. With the features of Inception v3 it is the
KID. The paper averages over small subsets; here every pair of images counts once.

Shape legend: B block, D width of the features, M choices of samples, N samples, R reference
images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask.evaluation.reference import Reference
from demask.evaluation.statistics import BLOCK, cubic_kernel


def kernel_distance(sample_ND: Tensor, reference: Reference, kept_MN: Tensor) -> Tensor:
    """The distance of each choice of samples; its expectation does not depend on their number.

    Args:
        sample_ND: features of the samples.
        reference: the features of the reference.
        kept_MN: booleans, the samples of each choice.

    Returns:
        Distances (M), float64; they can be negative.
    """
    kept_NM = kept_MN.to(sample_ND.dtype).T.contiguous()
    count_M = kept_MN.sum(1).double()
    within_M = torch.zeros(len(kept_MN), dtype=torch.float64)
    across_M = within_M.clone()
    for start in range(0, len(sample_ND), BLOCK):
        block_BD, chosen_BM = sample_ND[start : start + BLOCK], kept_NM[start : start + BLOCK]
        kernel_BN = cubic_kernel(block_BD, sample_ND)
        kernel_BN.diagonal(start).zero_()
        within_M += (chosen_BM * (kernel_BN @ kept_NM)).double().sum(0)
        to_reference_B = cubic_kernel(block_BD, reference.features_RD).mean(1, dtype=torch.float64)
        across_M += chosen_BM.double().T @ to_reference_B
    return within_M / (count_M * (count_M - 1)) + reference.kernel - 2 * across_M / count_M

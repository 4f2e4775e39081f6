"""Metrics that are computed from an extractor's class logits.

Shape legend: K classes, M choices of samples, N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_score(logits_NK: Tensor, kept_MN: Tensor) -> Tensor:
    """The Inception Score, from 1 to K: confidence per image and diversity over all images.

    "Improved Techniques for Training GANs" (arXiv 1606.03498), section 4: the exponential of the
    mean Kullback-Leibler divergence of an image's class distribution from the mean distribution.
    With the logits of Inception v3 it is the Inception Score. All images form one split.

    Args:
        logits_NK: logits of the samples.
        kept_MN: booleans, the samples of each choice.

    Returns:
        Scores (M), float64.
    """
    log_p_NK = logits_NK.double().log_softmax(-1)
    p_NK = log_p_NK.exp()
    negative_entropy_N = (p_NK * log_p_NK).sum(-1)
    kept_MN = kept_MN.double()
    share_MN = kept_MN / kept_MN.sum(1, keepdim=True)
    mean_MK = share_MN @ p_NK
    return torch.exp(share_MN @ negative_entropy_N - torch.xlogy(mean_MK, mean_MK).sum(-1))


def class_accuracy(logits_NK: Tensor, labels_N: Tensor, kept_MN: Tensor) -> Tensor:
    """The fraction of samples whose largest logit is that of their intended class, (M).

    Args:
        logits_NK: logits of the samples.
        labels_N: the intended classes.
        kept_MN: booleans, the samples of each choice.
    """
    return mean_of((logits_NK.argmax(-1) == labels_N).double(), kept_MN)


def mean_of(value_N: Tensor, kept_MN: Tensor) -> Tensor:
    """The mean over each choice of samples, (M), float64."""
    return kept_MN.double() @ value_N.double() / kept_MN.sum(1)

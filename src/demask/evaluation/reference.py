"""Statistics of the reference alone, which are computed once and cached.

A sweep measures every trial against the same images. For 50,000 images, their nearest neighbours
and kernel sums take longer than all computations with a trial's samples.

Shape legend: D width of the features, K nearest neighbours, R reference images.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from demask.evaluation.statistics import (
    DENSITY_K,
    kernel_among,
    moments,
    nearest,
    symmetric_root,
)


class Reference:
    """The features of real images.

    Args:
        features_RD: float32; must not be modified afterwards.
    """

    def __init__(self, features_RD: Tensor) -> None:
        self.features_RD = features_RD

    @cached_property
    def gaussian(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (D), covariance (D, D) and its square root (D, D), float64."""
        mean_D, covariance_DD = moments(self.features_RD.double())
        return mean_D, covariance_DD, symmetric_root(covariance_DD)

    @cached_property
    def kernel(self) -> float:
        """The mean kernel of all pairs of two different images."""
        return kernel_among(self.features_RD)

    @cached_property
    def distances_RK(self) -> Tensor:
        """The distances of each image's nearest neighbours (R, K), nearest first."""
        return nearest(self.features_RD, min(DENSITY_K, len(self.features_RD) - 1))[0]

    def radius_R(self, k: int) -> Tensor:
        """The distance of each image's k-th nearest neighbour, (R)."""
        return self.distances_RK[:, k - 1]

"""What a metric is, and what a measured number says.

Shape legend: M choices of samples, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from demask.evaluation.features import Features

POSITIVE, SHARE = (0.0, math.inf), (0.0, 1.0)

Compute = Callable[[Features, Features, Tensor], Tensor]
"""Samples, reference and choices of samples (M, N) -> a value for each choice (M)."""


@dataclass(frozen=True)
class Metric:
    """How a number is made, and what it needs.

    Attributes:
        title: what it is called ...
        inception: ... and where Inception v3 made the features.
        compute: makes it.
        least: how many images it needs on either side, from the width of the features.
        best: ``lowest`` or ``highest``.
        needs: the fields of the samples' `Features` that must be there.
        compares: whether it looks at the reference.
        limits: what no interval goes beyond.
    """

    title: str
    inception: str
    compute: Compute
    least: Callable[[int], int]
    best: str
    needs: tuple[str, ...] = ()
    compares: bool = True
    limits: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True)
class Score:
    """A measured number.

    Attributes:
        name: what it is and whose features it is made of, such as "recall, cifar10_conv".
        value: over all samples.
        low: the lower end of a 95 % interval; None where no interval was asked for.
        high: its upper end.
        metric: its row in `METRICS`.
        extractor: whose features it is made of.
        best: ``lowest`` or ``highest``.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    metric: str
    extractor: str
    best: str

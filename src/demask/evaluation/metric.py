"""The types of a metric and of its score.

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
    """A row of `demask.evaluation.metrics.METRICS`: how a score is computed, and from what.

    Attributes:
        title: its name in tables.
        inception: its name in tables if the features are those of Inception v3.
        compute: the function that computes it.
        least: width of the features -> the least number of samples and of reference images.
        best: ``lowest`` or ``highest``.
        needs: the fields of the samples' `Features` that must not be None or empty.
        compares: whether it depends on the reference.
        limits: the least and the greatest possible value, to which intervals are clipped.
        refusal: the reason why samples cannot be measured, in a sentence, or None if they can.
    """

    title: str
    inception: str
    compute: Compute
    least: Callable[[int], int]
    best: str
    needs: tuple[str, ...] = ()
    compares: bool = True
    limits: tuple[float, float] = (-math.inf, math.inf)
    refusal: Callable[[Features], str | None] | None = None


@dataclass(frozen=True)
class Score:
    """A measured number.

    Attributes:
        name: its metric and extractor, such as "recall, cifar10_conv".
        value: the value over all samples.
        low: lower end of the 95 % interval; None if no interval was computed.
        high: upper end of the interval.
        metric: its row in `METRICS`.
        extractor: the name of the extractor.
        best: ``lowest`` or ``highest``.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    metric: str
    extractor: str
    best: str

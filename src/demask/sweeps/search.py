"""Optimise over a space by asking for points and reporting losses. optuna is imported here only."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demask.sweeps.space import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

FEW = 12  # the most dimensions that a Gaussian process can search with tens of evaluations
SPREAD = 0.15  # standard deviation of the first points, as a fraction of each range


@dataclass(frozen=True)
class Tried:
    """A point and its loss."""

    point: Mapping[str, float]
    loss: float


class Search:
    """Minimises a noisy loss that is slow to evaluate.

    In at most 12 dimensions it uses a Gaussian process with expected improvement, after random
    points around the start; in more dimensions CMA-ES from the start.

    Args:
        dimensions: the dimensions, by name.
        seed: random seed of the search.
        tried: points that were evaluated before.
    """

    def __init__(
        self, dimensions: Mapping[str, Dimension], seed: int, tried: Sequence[Tried] = ()
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.dimensions = dimensions
        self.ranges: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(d.low, d.high, log=d.log)
            for name, d in dimensions.items()
        }
        with quiet():
            self.study = optuna.create_study(sampler=sampler(dimensions, seed + len(tried)))
        for one in tried:
            self.study.add_trial(
                optuna.create_trial(
                    params=dict(one.point), distributions=self.ranges, value=one.loss
                )
            )
        for point in openings(dimensions, seed)[len(tried) :]:
            self.study.enqueue_trial(point)
        self._asked: Any = None

    def ask(self) -> dict[str, float]:
        """The next point to evaluate; the first one is the start."""
        with quiet():
            self._asked = self.study.ask(self.ranges)
        return dict(self._asked.params)

    def tell(self, loss: float) -> None:
        """Report the loss of the point that `ask` returned last."""
        assert self._asked is not None, "nothing was asked for"
        self.study.tell(self._asked, loss)


def openings(dimensions: Mapping[str, Dimension], seed: int) -> list[dict[str, float]]:
    """The first points: the start and, for a Gaussian process, random points around it."""
    chance = random.Random(seed)
    middle = {name: d.start for name, d in dimensions.items()}
    if len(dimensions) > FEW:
        return [middle]
    around = [
        {name: moved(d, chance.gauss(0, SPREAD)) for name, d in dimensions.items()}
        for _ in range(len(dimensions) + 1)
    ]
    return [middle, *around]


def moved(dimension: Dimension, by: float) -> float:
    """The start, shifted by a fraction of the range and clamped to it."""
    low, high, start = dimension.low, dimension.high, dimension.start
    if dimension.log:
        start *= (high / low) ** by
    else:
        start += by * (high - low)
    return min(max(start, low), high)


def sampler(dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    """The optuna sampler for the number of dimensions."""
    from optuna.samplers import CmaEsSampler, GPSampler

    if len(dimensions) <= FEW:
        return GPSampler(seed=seed, n_startup_trials=len(openings(dimensions, seed)))
    middle = {name: d.start for name, d in dimensions.items()}
    return CmaEsSampler(x0=middle, sigma0=0.3, seed=seed, n_startup_trials=1)


class quiet(warnings.catch_warnings):  # noqa: N801
    """A context without optuna's warnings about experimental methods."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")

"""Ask for points of a space, tell how good they are. The one place that knows optuna."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demask.sweeps.space import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

FEW = 12  # dimensions in which a Gaussian process learns from tens of evaluations


@dataclass(frozen=True)
class Tried:
    """A point and how bad it was."""

    point: Mapping[str, float]
    loss: float


class Search:
    """Minimises something that is slow to evaluate and noisy.

    Few numbers by a Gaussian process (expected improvement, after a handful of random points), many
    by CMA-ES around the start.

    Args:
        dimensions: the numbers.
        seed: of the search's own chance.
        tried: what is known already.
    """

    def __init__(
        self, dimensions: Mapping[str, Dimension], seed: int, tried: Sequence[Tried] = ()
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
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
        if not tried:
            self.study.enqueue_trial({name: d.start for name, d in dimensions.items()})
        self._asked: Any = None

    def ask(self) -> dict[str, float]:
        """The next point to try; the first of all is the start."""
        with quiet():
            self._asked = self.study.ask(self.ranges)
        return dict(self._asked.params)

    def tell(self, loss: float) -> None:
        """How bad the point was that was asked for last."""
        assert self._asked is not None, "nothing was asked for"
        self.study.tell(self._asked, loss)


def sampler(dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    """What suits the number of dimensions."""
    from optuna.samplers import CmaEsSampler, GPSampler

    if len(dimensions) <= FEW:
        return GPSampler(seed=seed, n_startup_trials=len(dimensions) + 1)
    middle = {name: d.start for name, d in dimensions.items()}
    return CmaEsSampler(x0=middle, sigma0=0.3, seed=seed, n_startup_trials=1)


class quiet(warnings.catch_warnings):  # noqa: N801
    """No warnings of optuna that a method is new."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")

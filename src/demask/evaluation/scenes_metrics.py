"""The rows of `METRICS` for the exact scorer of scenes; see `scenes_scores`.

Shape legend: M choices of samples, N samples.
"""

from __future__ import annotations

from torch import Tensor

from demask.evaluation.features import Features
from demask.evaluation.metric import POSITIVE, SHARE, Metric


def by_scorer(samples: Features, reference: Features, kept_MN: Tensor) -> Tensor:
    """Never called: `demask.evaluation.scenes_scores` computes these metrics, without features."""
    raise AssertionError("check() refuses metrics of scenes for features")


SCENE_METRICS: dict[str, tuple[str, ...]] = {
    "scenes": ("right, seen", "right"),
    "scenes_unseen": ("right, unseen",),
    "scenes_clean": ("clean share",),
    "scenes_number": ("number distance",),
    "scenes_colour": ("colour distance",),
    "scenes_background": ("background distance",),
    "scenes_size": ("size distance",),
    "scenes_position": ("position distance",),
    "scenes_distinct": ("distinct scenes",),
}
"""Metric of the exact scorer of scenes -> the names of its scores."""


def of_scenes(name: str) -> Metric:
    """The row of a metric of scenes."""
    title = SCENE_METRICS[name][0]
    best = "lowest" if title.endswith("distance") else "highest"
    limits = POSITIVE if name == "scenes_distinct" else SHARE
    needs = ("scenes",)
    return Metric(title, title, by_scorer, lambda _: 1, best, needs, compares=False, limits=limits)

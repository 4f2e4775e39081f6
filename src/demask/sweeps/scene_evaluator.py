"""The evaluator of a sweep that uses the exact scorer of scenes.

Shape legend: B batch, H W rows and columns of pixels, C colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from demask.conditioning import ParsedCondition
from demask.evaluation.metric import Score
from demask.evaluation.scenes_metrics import SCENE_METRICS
from demask.evaluation.scenes_scores import (
    Judged,
    diversity_scores,
    faithfulness,
    held_out_captions,
    judge,
    open_captions,
    wanted_of,
)
from demask.scenes.vocabulary import SHAPES
from demask.sweeps.result import Value

VERSION = 1
"""Raised with every change of the scorer: results of an older one are measured again."""


@dataclass(frozen=True)
class SceneEvaluator:
    """Measures faithfulness and diversity; see `demask.sweeps.runner.Evaluator`.

    Attributes:
        open_captions: captions whose images show diversity; all others show faithfulness. Empty for
            a model of classes, whose images show both.
    """

    open_captions: tuple[str, ...] = ()
    name: str = "scenes scorer"
    fingerprint: str = f"scenes scorer {VERSION}"

    def extract(
        self, pixels_BHWC: Tensor, parsed_conditions: Sequence[ParsedCondition]
    ) -> list[tuple[str, Judged]]:
        """The caption or class of each image, and the judgement of the scorer."""
        texts = [parsed.prompt for parsed in parsed_conditions]
        judged = judge(pixels_BHWC.cpu().numpy(), [wanted_of(text) for text in texts])
        return list(zip(texts, judged, strict=True))

    def measure(self, seen: Sequence[Any]) -> list[Value]:
        """The scores of faithfulness and diversity of all images."""
        found = list(chain.from_iterable(seen))
        closed = [one for text, one in found if text not in self.open_captions]
        spread = [one for text, one in found if text in self.open_captions]
        scores = [*faithfulness(closed), *diversity_scores(spread or closed)]
        by_name = {score.name: score for score in scores}
        return [
            value_of(metric, by_name[title], self.name)
            for metric, titles in SCENE_METRICS.items()
            for title in titles
            if title in by_name
        ]


def value_of(metric: str, score: Score, scorer: str) -> Value:
    """A score as a `Value`."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return Value(metric, scorer, score.value, low, high)


def scene_prompts(count: int) -> tuple[str, ...]:
    """Held-out captions and captions that name only a shape, alternately."""
    left_open = open_captions(count // (2 * len(SHAPES)) + 1)
    closed = [text for text in held_out_captions(count) if text not in left_open]
    mixed = chain.from_iterable(zip(closed, left_open, strict=False))
    return tuple(mixed)[:count]

"""Evaluators of a sweep: an extractor with the features of the reference.

Shape legend: B batch, C channels, D width of the features, K classes, H W rows and columns of
pixels, N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from demask.conditioning import ParsedCondition
from demask.evaluation.extractors import Extractor
from demask.evaluation.features import Features, extract
from demask.evaluation.metrics import METRICS, measure
from demask.fingerprint import fingerprint
from demask.sweeps.result import Value


@dataclass(frozen=True)
class FeatureEvaluator:
    """Measures with the features of one extractor; see `demask.sweeps.runner.Evaluator`.

    Attributes:
        extractor: extracts the features.
        reference: the features of the real images.
        fingerprint: hash of everything but the images that a score depends on.
        metrics: rows of `METRICS`; () = all that the features allow.
        resamples: resamples for the intervals.
        classes: the extractor's number of each class of the model; None if the classes differ.
        answers: prompt -> the label of the reference image that it names.
    """

    extractor: Extractor
    reference: Features
    fingerprint: str
    metrics: tuple[str, ...]
    resamples: int
    classes: tuple[int, ...] | None
    answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the extractor."""
        return self.extractor.name

    def extract(
        self, pixels_BHWC: Tensor, parsed_conditions: Sequence[ParsedCondition]
    ) -> Features:
        """The features of some images, with their classes or answers."""
        known = None
        if self.classes is not None:
            known = torch.tensor([self.classes[parsed.label] for parsed in parsed_conditions])
        seen = extract([(pixels_BHWC, known)], self.extractor)
        if not self.answers:
            return seen
        return replace(
            seen, answers_N=torch.tensor([self.answers[s.prompt] for s in parsed_conditions])
        )

    def measure(self, seen: Sequence[Any]) -> list[Value]:
        """The metrics of the images of all batches."""
        samples = join(seen)
        scores = measure(samples, self.reference, self.metrics or None, resamples=self.resamples)
        return [
            Value(
                score.metric,
                self.name,
                score.value,
                score.value if score.low is None else score.low,
                score.value if score.high is None else score.high,
            )
            for score in scores
        ]


def join(parts: Sequence[Features]) -> Features:
    """The features of several batches as one."""

    def joined(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if any(tensor is None for tensor in found) else torch.cat(found)

    features_ND = joined("features_ND")
    assert features_ND is not None
    return replace(
        parts[0],
        features_ND=features_ND,
        logits_NK=joined("logits_NK"),
        labels_N=joined("labels_N"),
        answers_N=joined("answers_N"),
    )


def same_classes(model: Sequence[str], extractor: Sequence[str]) -> tuple[int, ...] | None:
    """The extractor's number of each class of the model; None if it lacks one of them."""
    if not model or not set(model) <= set(extractor):
        return None
    return tuple(list(extractor).index(name) for name in model)


def evaluators(
    extractors: Sequence[Extractor],
    references: Sequence[Features],
    data: str,
    class_names: Sequence[str],
    metrics: tuple[str, ...] = (),
    resamples: int = 30,
    answers: Mapping[str, int] | None = None,
) -> list[FeatureEvaluator]:
    """An evaluator for each extractor.

    Args:
        extractors: the extractors.
        references: the features of the real images, for each extractor.
        data: hash of the real images.
        class_names: the classes of the model.
        metrics: rows of `METRICS`; () = all that the features allow.
        resamples: for the intervals; 0 = none.
        answers: prompt -> the label of the reference image that it names.

    Raises:
        ValueError: an unknown metric.
    """
    for metric in metrics:
        METRICS[metric]
    return [
        FeatureEvaluator(
            extractor,
            reference,
            fingerprint(extractor.fingerprint, data, metrics, resamples),
            metrics,
            resamples,
            same_classes(class_names, extractor.class_names),
            answers or {},
        )
        for extractor, reference in zip(extractors, references, strict=True)
    ]

"""The metrics of features, each with an interval.

Shape legend: D width of the features, K classes, M choices of samples, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from demask import rng
from demask.evaluation.class_scores import class_accuracy, class_score, mean_of
from demask.evaluation.features import Features
from demask.evaluation.frechet import frechet
from demask.evaluation.kernel_distance import kernel_distance
from demask.evaluation.metric import POSITIVE, SHARE, Compute
from demask.evaluation.metric import Metric as Metric
from demask.evaluation.metric import Score as Score
from demask.evaluation.neighbours import coverage, density, precision, recall
from demask.evaluation.reference import Reference
from demask.evaluation.retrieval import nearest_label
from demask.evaluation.scenes_metrics import SCENE_METRICS, of_scenes
from demask.evaluation.statistics import DENSITY_K, NORMAL_95, PRECISION_K
from demask.registry import Table

RESAMPLES = 30


def clip_score(samples: Features, kept_MN: Tensor) -> Tensor:
    """The mean of 100 times the cosine of image and text features, clipped at 0, (M).

    "CLIPScore" (arXiv 2104.08718), section 3, with the usual factor of 100 in place of 2.5.
    """
    assert samples.texts_ND is not None
    cosine_N = F.cosine_similarity(samples.features_ND, samples.texts_ND, dim=-1)
    return mean_of(100 * cosine_N.clamp_min(0), kept_MN)


def retrieval(samples: Features, reference: Features, kept_MN: Tensor) -> Tensor:
    """The fraction of samples whose nearest real image is the one that the prompt names, (M)."""
    assert reference.labels_N is not None
    assert samples.answers_N is not None
    found_N = nearest_label(samples.features_ND, reference.features_ND, reference.labels_N)
    return mean_of(torch.eq(found_N, samples.answers_N), kept_MN)


def unknown_class(samples: Features) -> str | None:
    """A sentence about the first label that is no class of the extractor; None if all are."""
    assert samples.labels_N is not None
    last, count = int(samples.labels_N.max()), len(samples.class_names)
    if last < count and int(samples.labels_N.min()) >= 0:
        return None
    return f"class {last} is not one of the {count} classes of {samples.extractor}"


def of_features(compute: Callable[[Tensor, Reference, Tensor], Tensor]) -> Compute:
    """The metric of a function that needs only the features."""
    return lambda samples, reference, kept_MN: compute(
        samples.features_ND, reference.alone, kept_MN
    )


METRICS: Table[Metric] = Table(
    "metric",
    {
        "frechet": Metric(
            "Fréchet distance",
            "FID",
            of_features(frechet),
            lambda width: width + 1,
            "lowest",
            limits=POSITIVE,
        ),
        "kid": Metric(
            "kernel distance", "KID", of_features(kernel_distance), lambda _: 4, "lowest"
        ),
        "class_score": Metric(
            "class score",
            "Inception Score",
            lambda s, _, kept_MN: class_score(s.logits_NK, kept_MN),  # type: ignore[arg-type]
            lambda _: 2,
            "highest",
            ("logits_NK",),
            compares=False,
        ),
        "precision": Metric(
            "precision",
            "precision",
            of_features(precision),
            lambda _: PRECISION_K + 1,
            "highest",
            limits=SHARE,
        ),
        "recall": Metric(
            "recall",
            "recall",
            of_features(recall),
            lambda _: 2 * (PRECISION_K + 1),
            "highest",
            limits=SHARE,
        ),
        "density": Metric(
            "density", "density", of_features(density), lambda _: DENSITY_K + 1, "highest"
        ),
        "coverage": Metric(
            "coverage",
            "coverage",
            of_features(coverage),
            lambda _: DENSITY_K + 1,
            "highest",
            limits=SHARE,
        ),
        "class_accuracy": Metric(
            "class accuracy",
            "class accuracy",
            lambda s, _, kept_MN: class_accuracy(s.logits_NK, s.labels_N, kept_MN),  # type: ignore[arg-type]
            lambda _: 2,
            "highest",
            ("logits_NK", "class_names", "labels_N"),
            compares=False,
            limits=SHARE,
            refusal=unknown_class,
        ),
        "clip_score": Metric(
            "CLIP score",
            "CLIP score",
            lambda s, _, kept_MN: clip_score(s, kept_MN),
            lambda _: 2,
            "highest",
            ("texts_ND",),
            compares=False,
        ),
        "retrieval": Metric(
            "retrieval",
            "retrieval",
            retrieval,
            lambda _: 1,
            "highest",
            ("answers_N",),
            limits=SHARE,
        ),
        **{name: of_scenes(name) for name in SCENE_METRICS},
    },
)

WHAT_IS_MISSING = {
    "logits_NK": "the extractor {extractor} has no classes",
    "class_names": "the extractor {extractor} does not name its classes",
    "labels_N": "the intended class of the images is not known",
    "texts_ND": "it needs images of known prompts and an extractor of texts, such as clip",
    "scenes": "the exact scorer of scenes measures it, in a sweep or by --metric scenes",
    "answers_N": "it needs a model of prompts and a reference with captions, in a sweep",
}


def measure(
    samples: Features,
    reference: Features,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Score]:
    """Compute metrics of samples and a reference, with features of the same extractor.

    The interval describes how a score varies with the choice of the samples: it is
    ``value +- 1.96 s``, where s is the standard deviation over ``resamples`` random halves of the
    samples (the delete-half jackknife: Shao and Wu, "A General Theory for Jackknife Variance
    Estimation", 1989). Scores of halves vary around that of all samples as much as the latter
    varies around its expectation. Unlike a bootstrap sample, a half holds no image twice, which
    would bias nearest neighbours and sums over pairs. The variation of the reference is not
    included, nor is the bias of the Fréchet distance, which falls with the number of samples:
    compare such distances at equal numbers only.

    Args:
        samples: features of the samples.
        reference: features of the real images.
        metrics: rows of `METRICS`; by default all that these features allow.
        seed: seed of the halves.
        resamples: number of halves; 0 for no intervals.

    Raises:
        ValueError: an unknown metric, features of two extractors, too few images, or a field that
            a metric needs is missing.
    """
    if samples.fingerprint != reference.fingerprint:
        raise ValueError(
            f"the features of the samples are by {samples.extractor}, those of the reference by "
            f"{reference.extractor} or another version of it; both must be by the same extractor"
        )
    if resamples < 0 or resamples == 1:
        raise ValueError(f"resamples must be 0, or at least 2, not {resamples}")
    names = possible(samples) if metrics is None else list(metrics)
    for name in names:
        check(name, samples, reference)
    kept_MN = choices(len(samples), seed, resamples)
    return [score(name, samples, reference, kept_MN) for name in names]


def possible(samples: Features) -> list[str]:
    """The metrics that these features allow."""
    return [name for name, metric in METRICS.items() if not missing(metric, samples)]


def missing(metric: Metric, samples: Features) -> list[str]:
    """The fields that a metric needs and that are None or empty in the features."""
    fields = {name: getattr(samples, name, None) for name in metric.needs}
    return [name for name, field in fields.items() if field is None or len(field) == 0]


def check(name: str, samples: Features, reference: Features) -> None:
    """Raise a ValueError if a metric is unknown or cannot be computed from these features."""
    metric = METRICS[name]
    if absent := missing(metric, samples):
        reason = WHAT_IS_MISSING.get(absent[0], "the samples have no {field}")
        reason = reason.format(extractor=samples.extractor, field=absent[0])
        raise ValueError(f"no {name}: {reason}")
    if metric.refusal and (refusal := metric.refusal(samples)):
        raise ValueError(f"no {name}: {refusal}")
    least = metric.least(samples.features_ND.shape[1])
    sides = {"samples": samples, "reference images": reference}
    for what, features in sides.items():
        if len(features) < least and (metric.compares or features is samples):
            raise ValueError(
                f"{len(features)} {what} are too few for {name} of {samples.extractor}: "
                f"at least {least} are needed"
            )


def choices(count: int, seed: int, resamples: int) -> Tensor:
    """All samples, then random halves of them: booleans, (1 + resamples, count)."""
    generator = torch.Generator().manual_seed(rng.derive(seed, "halves of the samples"))
    kept_MN = torch.ones(1 + resamples, count, dtype=torch.bool)
    for half_N in kept_MN[1:]:
        half_N[torch.randperm(count, generator=generator)[(count + 1) // 2 :]] = False
    return kept_MN


def score(name: str, samples: Features, reference: Features, kept_MN: Tensor) -> Score:
    """A score and its interval."""
    metric = METRICS[name]
    values_M = metric.compute(samples, reference, kept_MN)
    value, low, high = float(values_M[0]), None, None
    if len(values_M) > 1:
        half_width = NORMAL_95 * float(values_M[1:].std())
        low = max(value - half_width, metric.limits[0])
        high = min(value + half_width, metric.limits[1])
    by_inception = samples.extractor.partition(":")[0] == "inception"
    return Score(
        f"{metric.inception if by_inception else metric.title}, {samples.extractor}",
        value,
        low,
        high,
        name,
        samples.extractor,
        metric.best,
    )

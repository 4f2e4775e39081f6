"""Names, intervals, and what cannot be measured."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch

from demask.evaluation.class_scores import class_accuracy, class_score
from demask.evaluation.metrics import METRICS, choices, measure
from demask.evaluation.scenes_metrics import SCENE_METRICS
from demask.evaluation.statistics import wilson
from seen import everything, seen


def test_every_score_says_whose_features_it_is_made_of() -> None:
    scores = measure(seen(60), seen(50, 5), resamples=3)
    impossible = {"clip_score", "retrieval", *SCENE_METRICS}
    assert [s.metric for s in scores] == [name for name in METRICS if name not in impossible]
    assert all(s.name.endswith(", tiny") and s.extractor == "tiny" for s in scores)
    assert not any("FID" in s.name or "Inception" in s.name for s in scores)
    inception = measure(seen(60, name="inception"), seen(50, 5, name="inception"), resamples=0)
    assert {s.name for s in inception} >= {"FID, inception", "KID, inception"}


def test_no_resamples_no_interval() -> None:
    (score,) = measure(seen(60), seen(50, 5), ["kid"], resamples=0)
    assert score.low is None
    assert score.high is None


def test_the_same_seed_gives_the_same_interval() -> None:
    first, again, other = (measure(seen(60), seen(50, 5), seed=s, resamples=4) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert [s.value for s in first] == [s.value for s in other]


def test_the_interval_of_a_share_is_the_binomials() -> None:
    count = 2000
    samples = seen(count)
    (score,) = measure(samples, seen(50, 5), ["class_accuracy"], resamples=200)
    assert score.high is not None
    expected = 1.96 * math.sqrt(score.value * (1 - score.value) / count)
    assert score.high - score.value == pytest.approx(expected, rel=0.2)


def test_the_interval_holds_95_percent_of_a_normal_distribution() -> None:
    samples, reference = seen(60), seen(50, 5)
    (score,) = measure(samples, reference, ["kid"], seed=3, resamples=20)
    halves_M = METRICS["kid"].compute(samples, reference, choices(60, 3, 20))[1:]
    half_width = NormalDist().inv_cdf(0.975) * float(halves_M.std())
    ends = score.value - half_width, score.value + half_width
    assert (score.low, score.high) == pytest.approx(ends, rel=1e-4)


@pytest.mark.parametrize(("hits", "count"), [(7, 10), (1, 40), (250, 300)])
def test_the_ends_of_wilsons_interval_are_just_not_rejected(hits: int, count: int) -> None:
    """Wilson (1927): where the share lies 1.96 standard deviations of the end away from it."""
    for end in wilson(hits, count):
        deviations = abs(hits / count - end) / math.sqrt(end * (1 - end) / count)
        assert deviations == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-4)


def test_the_interval_of_the_kernel_distance_holds_the_truth() -> None:
    inside = 0
    for seed in range(40):
        (score,) = measure(seen(100, 3 * seed), seen(1000, 3 * seed + 1), ["kid"], resamples=30)
        assert score.low is not None
        assert score.high is not None
        inside += score.low <= 0 <= score.high
    assert inside >= 33


def test_a_share_is_never_above_one() -> None:
    samples = replace(seen(60), labels_N=seen(60).logits_NK.argmax(-1))
    for score in measure(samples, samples, ["class_accuracy", "precision"], resamples=5):
        assert score.high is not None
        assert score.high <= 1


@pytest.mark.parametrize(("right", "end"), [(58, "high"), (2, "low")])
def test_the_interval_of_a_share_ends_at_zero_and_one(right: int, end: str) -> None:
    samples = seen(60)
    label_N = samples.logits_NK.argmax(-1)
    label_N[right:] = samples.logits_NK.argmin(-1)[right:]
    (score,) = measure(replace(samples, labels_N=label_N), samples, ["class_accuracy"])
    assert score.value == pytest.approx(right / 60)
    assert getattr(score, end) == (1 if end == "high" else 0), "1.96 deviations reach further"


def test_halves() -> None:
    kept_MN = choices(11, seed=3, resamples=4)
    assert kept_MN.sum(1).tolist() == [11, 6, 6, 6, 6]


def test_the_class_score_is_between_one_and_the_number_of_classes() -> None:
    one, each = torch.zeros(30, 3), 50 * torch.eye(3).repeat(10, 1)
    assert float(class_score(one, everything(30))) == pytest.approx(1)
    assert float(class_score(each, everything(30))) == pytest.approx(3)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_the_class_score_is_torchmetrics() -> None:
    inception = pytest.importorskip("torchmetrics.image.inception")
    theirs = inception.InceptionScore(feature=torch.nn.Identity(), splits=1)
    logits_NK = seen(200).logits_NK
    theirs.update(logits_NK)
    ours = float(class_score(logits_NK, everything(200)))
    assert ours == pytest.approx(float(theirs.compute()[0]), rel=1e-5)


def test_the_class_accuracy_is_the_share_whose_likeliest_class_is_the_label() -> None:
    logits_NK = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [0.0, 2.0, 1.0]])
    label_N = torch.tensor([0, 0, 1, 2])
    kept_MN = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 0]]).bool()
    found_M = class_accuracy(logits_NK, label_N, kept_MN)
    assert found_M.tolist() == pytest.approx([1 / 2, 0, 1, 2 / 3])


def test_words_and_images() -> None:
    samples = seen(20)
    same = replace(samples, texts_ND=3 * samples.features_ND)
    against = replace(samples, texts_ND=-samples.features_ND)
    for features, value in ((same, 100), (against, 0)):
        (score,) = measure(features, seen(20, 1), ["clip_score"])
        assert score.value == pytest.approx(value, abs=1e-3)
    with pytest.raises(ValueError, match="no clip_score: it needs images of known prompts"):
        measure(samples, seen(20, 1), ["clip_score"])


@pytest.mark.parametrize(
    ("metric", "samples", "reference", "line"),
    [
        ("frechet", 6, 50, "6 samples are too few for frechet of tiny: at least 7 are needed"),
        ("frechet", 50, 6, "6 reference images are too few for frechet of tiny: at least 7"),
        ("precision", 3, 50, "3 samples are too few for precision of tiny: at least 4"),
        ("coverage", 50, 5, "5 reference images are too few for coverage of tiny: at least 6"),
    ],
)
def test_too_few(metric: str, samples: int, reference: int, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        measure(seen(samples), seen(reference), [metric])


def test_refuses() -> None:
    samples = seen(20)
    with pytest.raises(ValueError, match="unknown metric 'fid'; did you mean 'kid'[?]"):
        measure(samples, samples, ["fid"])
    with pytest.raises(ValueError, match="by other or another version"):
        measure(samples, replace(samples, extractor="other", fingerprint="x"))
    with pytest.raises(ValueError, match="the intended class of the images is not known"):
        measure(replace(samples, labels_N=None), samples, ["class_accuracy"])
    with pytest.raises(ValueError, match="class 7 is not one of the 3 classes of tiny"):
        measure(replace(samples, labels_N=torch.full((20,), 7)), samples, ["class_accuracy"])
    with pytest.raises(ValueError, match="resamples must be 0, or at least 2, not 1"):
        measure(samples, samples, resamples=1)

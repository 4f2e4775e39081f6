"""What a sweep measures with: the evaluation's own numbers, whatever the batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask.conditioning import ParsedCondition
from demask.evaluation.features import extract
from demask.evaluation.metrics import measure
from demask.sweeps.evaluators import evaluators, same_classes


class Corners:
    """Sees four numbers of an image, and a class by its brightness."""

    name = "corners"
    fingerprint = "c1"
    size = 8
    class_names = ("dark", "bright")

    def __call__(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        features_BD = image_BCHW[:, 0, :2, :2].flatten(1)
        bright_B = image_BCHW.mean((1, 2, 3)) - 0.5
        return features_BD, torch.stack([-bright_B, bright_B], 1)


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)


def test_batches_measure_as_the_whole() -> None:
    samples, real, eyes = images(30, 1), images(40, 2), Corners()
    labels = torch.arange(30) % 2
    shown = [ParsedCondition(label=int(label)) for label in labels]
    reference = extract([(real, None)], eyes)
    (evaluator,) = evaluators([eyes], [reference], "data", ("bright", "dark"), (), 4)
    seen = [evaluator.extract(samples[a : a + 8], shown[a : a + 8]) for a in range(0, 30, 8)]
    whole = extract([(samples, 1 - labels)], eyes)  # the model counts its classes the other way
    expected = measure(whole, reference, resamples=4)
    assert [v.metric for v in evaluator.measure(seen)] == [score.metric for score in expected]
    for value, score in zip(evaluator.measure(seen), expected, strict=True):
        assert (value.value, value.low, value.high) == (score.value, score.low, score.high)
        assert value.extractor == "corners"


def test_without_resampling_there_is_no_interval() -> None:
    reference = extract([(images(40, 2), None)], Corners())
    (evaluator,) = evaluators([Corners()], [reference], "data", (), ("frechet",), 0)
    (value,) = evaluator.measure([evaluator.extract(images(20, 3), [ParsedCondition()] * 20)])
    assert value.low == value.value == value.high


def test_the_fingerprint_holds_reference_and_metrics() -> None:
    reference = extract([(images(9, 2), None)], Corners())
    fingerprints = {
        evaluators([Corners()], [reference], data, (), metrics, resamples)[0].fingerprint
        for data in ("a", "b")
        for metrics in (("kid",), ("frechet",))
        for resamples in (0, 4)
    }
    assert len(fingerprints) == 8
    with pytest.raises(ValueError, match="unknown metric 'fid'"):
        evaluators([Corners()], [reference], "a", (), ("fid",))


def test_classes_are_matched_by_name() -> None:
    assert same_classes(("cat", "dog"), ("dog", "ship", "cat")) == (2, 0)
    assert same_classes(("cat", "zebra"), ("cat", "dog")) is None
    assert same_classes((), ("cat",)) is None

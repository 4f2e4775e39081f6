"""Precision, recall, density and coverage, against loops over all pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask.evaluation import reference as reference_module
from demask.evaluation import statistics
from demask.evaluation.metrics import choices
from demask.evaluation.neighbours import coverage, density, precision, recall
from demask.evaluation.reference import Reference
from seen import everything, normal


def radii(x_ND: Tensor, k: int) -> Tensor:
    return torch.cdist(x_ND, x_ND).sort(1)[0][:, k]  # the nearest is itself


def test_all_four_are_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK", 32)
    x_ND, y_RD = normal(90, shift=0.8), normal(70, seed=1)
    apart_NR, all_of_them = torch.cdist(x_ND, y_RD), everything(90)
    three_R, five_R, three_N = radii(y_RD, 3), radii(y_RD, 5), radii(x_ND, 3)
    expected = {
        precision: (apart_NR < three_R).any(1).double().mean(),
        density: (apart_NR < five_R).sum(1).double().mean() / 5,
        recall: (apart_NR < three_N[:, None]).any(0).double().mean(),
        coverage: (apart_NR < five_R).any(0).double().mean(),
    }
    for metric, value in expected.items():
        assert 0 < value < 1, "the test says nothing"
        assert float(metric(x_ND, Reference(y_RD), all_of_them)) == pytest.approx(float(value))


@pytest.mark.parametrize("metric", [precision, density, recall, coverage])
def test_a_choice_is_as_if_there_were_no_others(metric) -> None:
    x_ND, y_RD = normal(90, shift=0.5), normal(70, seed=1)
    kept_MN = choices(90, seed=0, resamples=4)
    values_M = metric(x_ND, Reference(y_RD), kept_MN)
    for value, kept_N in zip(values_M, kept_MN, strict=True):
        alone = metric(x_ND[kept_N], Reference(y_RD), everything(int(kept_N.sum())))
        assert float(value) == pytest.approx(float(alone))


def test_what_is_the_same_and_what_is_far_away() -> None:
    x_ND, y_RD = normal(400), normal(400, seed=1)
    for metric in (precision, recall, coverage):
        assert float(metric(x_ND, Reference(y_RD), everything(400))) > 0.7
        assert float(metric(x_ND + 1000, Reference(y_RD), everything(400))) == 0
    assert float(density(x_ND, Reference(y_RD), everything(400))) == pytest.approx(1, abs=0.25)


def test_one_image_again_and_again_is_precise_and_recalls_little() -> None:
    y_RD = normal(200)
    x_ND = y_RD[:1].expand(100, -1) + 1e-4 * normal(100, seed=2)
    assert float(precision(x_ND, Reference(y_RD), everything(100))) == 1
    assert float(recall(x_ND, Reference(y_RD), everything(100))) < 0.05


def test_what_concerns_the_reference_alone_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, looked = Reference(normal(70, seed=1)), []
    real = reference_module.nearest
    monkeypatch.setattr(
        reference_module, "nearest", lambda *given: looked.append(1) or real(*given)
    )
    for metric in (precision, density, coverage, precision):
        metric(normal(90), reference, everything(90))
    assert len(looked) == 1

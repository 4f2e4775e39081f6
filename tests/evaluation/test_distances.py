"""Fréchet and kernel distance, against other programs and against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor, nn

from demask.evaluation.frechet import frechet
from demask.evaluation.kernel_distance import kernel_distance
from demask.evaluation.metrics import choices
from demask.evaluation.reference import Reference
from seen import everything, normal


class Through(nn.Module):
    """Lets features through where torchmetrics wants a network."""

    num_features = 6

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


def plain_frechet(x_ND: Tensor, y_ND: Tensor) -> float:
    x, y = x_ND.double().numpy(), y_ND.double().numpy()
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    apart = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return apart + np.trace(first) + np.trace(second) - 2 * root


def test_frechet_is_numpys_and_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    x_ND, y_ND = normal(200, shift=0.3), normal(150, seed=1)
    ours = float(frechet(x_ND, Reference(y_ND), everything(200)))
    assert ours == pytest.approx(plain_frechet(x_ND, y_ND), rel=1e-6)
    theirs = fid.FrechetInceptionDistance(feature=Through())
    theirs.update(y_ND, real=True)
    theirs.update(x_ND, real=False)
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-3)


def test_frechet_of_known_gaussians() -> None:
    x_ND = normal(60)
    assert float(frechet(x_ND, Reference(x_ND), everything(60))) == pytest.approx(0, abs=1e-6)
    assert float(frechet(x_ND + 2, Reference(x_ND), everything(60))) == pytest.approx(
        6 * 4, rel=1e-5
    )


def test_kernel_distance_is_torchmetrics_over_all_pairs() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x_ND, y_ND = normal(1100, shift=0.3), normal(90, seed=1)
    ours = float(kernel_distance(x_ND, Reference(y_ND), everything(1100)))
    # theirs is for sets of one size
    part = float(kernel_distance(x_ND[:90], Reference(y_ND), everything(90)))
    assert part == pytest.approx(float(kid.poly_mmd(y_ND, x_ND[:90])), rel=1e-4)
    kernel = lambda a, b: (a.double() @ b.double().T / 6 + 1) ** 3  # noqa: E731
    pairs = [
        (kernel(s, s).sum() - kernel(s, s).trace()) / (len(s) * (len(s) - 1)) for s in (x_ND, y_ND)
    ]
    assert ours == pytest.approx(
        float(pairs[0] + pairs[1] - 2 * kernel(x_ND, y_ND).mean()), rel=1e-4
    )


@pytest.mark.parametrize("distance", [frechet, kernel_distance])
def test_a_choice_is_as_if_there_were_no_others(distance) -> None:
    x_ND, y_ND = normal(80, shift=0.3), normal(70, seed=1)
    kept_MN = choices(80, seed=0, resamples=3)
    values_M = distance(x_ND, Reference(y_ND), kept_MN)
    for value, kept_N in zip(values_M, kept_MN, strict=True):
        alone = distance(x_ND[kept_N], Reference(y_ND), everything(int(kept_N.sum())))
        assert float(value) == pytest.approx(float(alone), rel=1e-4)


def test_the_kernel_distance_is_unbiased_where_the_frechet_distance_is_not() -> None:
    kid, fid = [], []
    for seed in range(40):
        x_ND, y_ND = normal(40, seed=2 * seed), normal(40, seed=2 * seed + 1)
        kid.append(float(kernel_distance(x_ND, Reference(y_ND), everything(40))))
        fid.append(float(frechet(x_ND, Reference(y_ND), everything(40))))
    assert abs(np.mean(kid)) < 3 * np.std(kid) / np.sqrt(len(kid))
    assert np.mean(fid) > 3 * np.std(fid) / np.sqrt(len(fid))

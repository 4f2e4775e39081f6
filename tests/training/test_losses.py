"""Losses and the running average."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from demask.training.engine.ema import EMA
from demask.training.losses import (
    balance,
    edge_l1,
    feature_matching,
    hinge_discriminator,
    spectrum_l1,
    token_cross_entropy,
)


def image(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", [spectrum_l1, edge_l1])
def test_image_losses_are_zero_only_for_the_same(loss: object) -> None:
    assert loss(image(0), image(0)) == 0
    assert loss(image(0), image(1)) > 0.01


def test_the_spectrum_does_not_see_where_texture_is() -> None:
    moved = image(0).roll((3, 5), (-2, -1))
    assert spectrum_l1(moved, image(0)).item() == pytest.approx(0, abs=1e-6)
    assert edge_l1(moved, image(0)) > 0.01


def test_edges_ignore_brightness() -> None:
    assert edge_l1(image(0) + 0.3, image(0)).item() == pytest.approx(0, abs=1e-6)


def test_hinge() -> None:
    assert hinge_discriminator(torch.tensor([2.0]), torch.tensor([-3.0])) == 0
    assert hinge_discriminator(torch.tensor([0.0]), torch.tensor([0.5])) == pytest.approx(1.25)


def test_feature_matching_leaves_the_targets_alone() -> None:
    made, target = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    feature_matching([made], [target]).backward()
    assert made.grad is not None
    assert target.grad is None


def test_balance_equals_the_gradients() -> None:
    weight = torch.ones(3, requires_grad=True)
    factor = balance((4 * weight).sum(), (2 * weight).sum(), weight)
    assert factor.item() == pytest.approx(2, rel=1e-4)
    assert balance((1e4 * weight).sum(), (1e-3 * weight).sum(), weight) == 10


def test_cross_entropy_counts_what_has_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BLV = torch.randn(2, 3, 5, generator=generator)
    target_BL = torch.randint(0, 5, (2, 3), generator=generator)
    weight_BL = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    expected = F.cross_entropy(logits_BLV[:, 0], target_BL[:, 0], label_smoothing=0.1)
    found = token_cross_entropy(logits_BLV, target_BL, weight_BL, 0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert token_cross_entropy(logits_BLV, target_BL, 0 * weight_BL, 0.1) == 0


def test_the_average_forgets_its_random_start() -> None:
    """And averages what comes after it: weights that alternate between 0 and 2 are 1 on average."""
    parameter = torch.nn.Parameter(torch.full((2,), 100.0))
    average, expected = EMA([("w", parameter)], decay=0.999), 100.0
    for update in range(200):
        parameter.data.fill_(2.0 * (update % 2))
        average.update([("w", parameter)], update)
        past = (1 + update) / (10 + update)
        expected = past * expected + (1 - past) * 2.0 * (update % 2)
    assert average.tensors["w"].tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert average.tensors["w"].tolist() == pytest.approx([1.0] * 2, abs=0.05)
    assert parameter.data.min() == 2.0, "the parameter itself is untouched"

"""Optimisers and learning rates."""

from __future__ import annotations

import itertools

import pytest
import torch

from demask.training.engine.muon import Muon, orthogonalise
from demask.training.engine.optim import DECAYS, Optim
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

TINY = ModernMaskGITConfig(
    codebook_size=8, num_classes=2, grid=(2, 2), width=16, depth=1, heads=1, mlp_width=16
)


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalise(matrices))
    assert singular.max() < 1.3
    assert singular.min() > 0.3


def test_orthogonalise_works_through_each_matrix_alone() -> None:
    matrices = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    together = orthogonalise(matrices)
    for matrix, expected in zip(matrices, together, strict=True):
        assert torch.allclose(orthogonalise(matrix[None])[0], expected, atol=1e-5)


def test_muon_solves_a_least_squares_problem() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(6, 4, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    muon = Muon([weight], lr=0.1)
    for step in range(300):
        muon.param_groups[0]["lr"] = 0.3 * (1 - step / 300)
        muon.zero_grad()
        (weight - target).square().sum().backward()
        muon.step()
    assert (weight - target).norm() < 0.05 * target.norm()


def test_muon_is_orthogonalised_nesterov_momentum_with_decoupled_decay() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 6, generator=generator))
    expected, average = weight.detach().clone(), torch.zeros(4, 6)
    muon = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(3):
        weight.grad = torch.randn(4, 6, generator=generator)
        muon.step()
        average = 0.9 * average + 0.1 * weight.grad
        ahead = 0.1 * weight.grad + 0.9 * average
        expected = expected * (1 - 0.1 * 0.5)
        expected -= 0.1 * 0.2 * 6**0.5 * orthogonalise(ahead[None])[0]
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("shape", [(8, 8), (4, 32), (48, 8)])
def test_an_update_of_muon_is_as_large_for_every_shape(shape: tuple[int, int]) -> None:
    """Its root mean square is 0.2 times the rate (arXiv 2502.16982)."""
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1).step()
    size = float(weight.detach().square().mean().sqrt())
    assert size == pytest.approx(0.02, rel=0.25)


def test_muon_takes_the_block_matrices_and_adamw_the_rest() -> None:
    model = ModernMaskGIT(TINY)
    adamw, muon = Optim(optimizer="muon").build(model)
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(muon, Muon)
    by_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    by_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    names = {n for n, p in model.named_parameters() if id(p) in by_muon}
    assert names == {
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention.out.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.down.weight",
    }
    assert by_muon.isdisjoint(by_adamw)
    assert len(by_muon) + len(by_adamw) == len(list(model.parameters()))


@pytest.mark.parametrize("decay", DECAYS)
def test_learning_rate_warms_up_stays_and_falls(decay: str) -> None:
    optim = Optim(warmup=10, decay=decay, decay_fraction=0.5)
    factors = [optim.factor(step, 110) for step in range(110)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:60] == [1.0] * 50
    assert all(a >= b for a, b in itertools.pairwise(factors[60:]))
    assert factors[-1] < 0.05


def test_steps_may_change_while_the_rate_is_constant() -> None:
    optim = Optim(warmup=10, decay_fraction=0.3)
    assert [optim.factor(s, 100) for s in range(70)] == [optim.factor(s, 200) for s in range(70)]


def test_without_a_last_part_the_rate_stays() -> None:
    optim = Optim(warmup=10, decay_fraction=0)
    assert [optim.factor(step, 50) for step in range(9, 50)] == [1.0] * 41


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="adamw, muon"):
        Optim(optimizer="adam")
    with pytest.raises(ValueError, match="linear, cosine"):
        Optim(decay="lin")
    with pytest.raises(ValueError, match="decay_fraction"):
        Optim(decay_fraction=1.1)

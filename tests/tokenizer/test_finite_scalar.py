"""Finite scalar quantisation."""

from __future__ import annotations

import pytest
import torch

from demask.tokenizer.finite_scalar import FiniteScalarQuantizer

LEVELS = [(8, 5, 5, 5), (2,), (3, 4), (8, 8, 8)]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_is_its_own_value_and_comes_back(levels: tuple[int, ...]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    ids_BHW = torch.arange(quantizer.codebook_size)[:, None, None]
    values_BCHW = quantizer.values(ids_BHW)
    assert len(values_BCHW.flatten(1).unique(dim=0)) == quantizer.codebook_size
    assert values_BCHW.abs().max() <= 1
    # the latents whose squashed value lies on the code
    half = torch.tensor([n // 2 for n in levels])[:, None, None]
    n = torch.tensor(levels)[:, None, None]
    bound = (n - 1) * (1 + 1e-3) / 2
    offset = (n % 2 == 0) / 2
    inside = ((values_BCHW * half + offset) / bound).clamp(-0.9999, 0.9999)
    latent_BCHW = torch.atanh(inside) - torch.atanh(offset / bound)
    assert torch.equal(quantizer.ids(latent_BCHW), ids_BHW)


def test_ids_and_values_say_the_same_as_forward() -> None:
    quantizer = FiniteScalarQuantizer((8, 5, 5))
    latent_BCHW = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 2
    assert torch.allclose(quantizer.values(quantizer.ids(latent_BCHW)), quantizer(latent_BCHW))


def test_extreme_latents_stay_in_the_codebook() -> None:
    quantizer = FiniteScalarQuantizer((8, 5, 2, 3))
    ids = quantizer.ids(torch.tensor([-1e4, 0.0, 1e4]).expand(1, 4, 3)[..., None])
    assert ids.min() >= 0
    assert ids.max() < quantizer.codebook_size


def test_the_gradient_passes_straight_through() -> None:
    quantizer = FiniteScalarQuantizer((5,))
    latent = torch.tensor([0.3]).view(1, 1, 1, 1).requires_grad_()
    quantizer(latent).sum().backward()
    half = 4 * (1 + 1e-3) / 2
    expected = (1 - torch.tanh(torch.tensor(0.3)) ** 2) * half / 2
    assert latent.grad.item() == pytest.approx(expected.item(), rel=1e-5)

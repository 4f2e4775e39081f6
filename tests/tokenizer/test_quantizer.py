from __future__ import annotations

import pytest
import torch

from demask.tokenizer import quantizer
from demask.tokenizer.quantizer import LookupFreeQuantizer, VectorQuantizer


def made(codes: int = 13, width: int = 4) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(codes, width).double().requires_grad_(False)


def test_ids_are_the_nearest_codes() -> None:
    quantize = made()
    latent_BDHW = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    vectors = latent_BDHW.permute(0, 2, 3, 1)[..., None, :]
    expected = (vectors - quantize.embedding.weight).square().sum(-1).argmin(-1)
    assert torch.equal(quantize.ids(latent_BDHW), expected)


def test_values_and_ids_are_inverse() -> None:
    quantize = made()
    ids_BHW = torch.arange(12).view(2, 2, 3)
    values_BDHW = quantize.values(ids_BHW)
    assert values_BDHW.shape == (2, 4, 2, 3)
    assert torch.equal(quantize.ids(values_BDHW), ids_BHW)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quantize = made()
    latent_BDHW = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    whole = quantize.ids(latent_BDHW)
    monkeypatch.setattr(quantizer, "MAX_DISTANCES", 2 * 13)
    assert torch.equal(quantize.ids(latent_BDHW), whole)
    monkeypatch.setattr(quantizer, "MAX_DISTANCES", 1)
    assert torch.equal(quantize.ids(latent_BDHW), whole)


def test_bits_are_signs_and_zero_is_not_positive() -> None:
    quantize = LookupFreeQuantizer(18)
    latent_BDHW = torch.zeros(1, 18, 1, 2)
    latent_BDHW[0, 0, 0, 1], latent_BDHW[0, 17, 0, 1], latent_BDHW[0, 5] = 0.1, 1e-9, -2.0
    assert quantize.ids(latent_BDHW).tolist() == [[[0, 1 + 2**17]]]
    ids_BHW = torch.tensor([[[0, 1, 2**18 - 1], [77, 200_001, 5]]])
    assert torch.equal(quantize.ids(quantize.values(ids_BHW)), ids_BHW)

"""The ways of computing that are measured on a GPU, as far as the processor has them."""

from __future__ import annotations

import pytest
import torch
from gpu_speed import Loaded, loaded, measure, predict_of
from gpu_speed_models import Float8Linear, models, to_float8
from torch import nn


def multiplies_rows() -> bool:
    """Whether this torch has a product of float8 numbers with a scale for each row on the CPU."""
    with torch.no_grad():
        try:
            Float8Linear(nn.Linear(16, 16).bfloat16())(torch.ones(1, 16, dtype=torch.bfloat16))
        except RuntimeError:
            return False
    return True


needs_rows = pytest.mark.skipif(
    torch.__version__ < "2.12" and not multiplies_rows(),
    reason="torch 2.11 has float8 products with a scale for each row on GPUs alone",
)

CPU = torch.device("cpu")


@needs_rows
def test_a_float8_product_is_near_that_of_its_layer():
    torch.manual_seed(0)
    layer = nn.Linear(64, 48).bfloat16().requires_grad_(False)
    x_BLK = torch.randn(2, 5, 64).bfloat16() * torch.tensor([1.0, 30.0]).bfloat16()[:, None, None]
    exact_BLM, found_BLM = layer(x_BLK), Float8Linear(layer)(x_BLK)
    assert found_BLM.shape == exact_BLM.shape
    for exact_LM, found_LM in zip(exact_BLM, found_BLM, strict=True):
        error = (found_LM - exact_LM).float().norm() / exact_LM.float().norm()
        assert 0 < error < 0.06  # a scale for each row: large rows don't drown small ones


@needs_rows
@pytest.mark.parametrize("model", models(tiny=True), ids=lambda model: model.name)
def test_float8_goes_into_the_blocks_and_says_nearly_the_same(model):
    found = loaded(model, CPU)
    low = loaded(model, CPU)
    assert to_float8(low.transformer) > 0
    assert found.agreement(low.transformer.predict) > 0.5
    assert found.agreement(found.transformer.predict) == 1


def test_a_row_says_what_was_measured():
    model = models(tiny=True)[0]
    found = loaded(model, CPU)
    assert isinstance(found, Loaded)
    row = measure(found, "local steps", 1, rounds=1)
    assert row.name == "MaskGIT-256, batch 1, local steps"
    assert row.values["images a second"].value == pytest.approx(1 / row.values["seconds"].value)
    assert predict_of("exact", found.transformer) == found.transformer.predict

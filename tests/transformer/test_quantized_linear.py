from __future__ import annotations

import pytest
import torch
from torch import nn

from demask.acceleration.quantization import own_rows
from demask.transformer import quantized_linear
from demask.transformer.quantized_linear import (
    Precision,
    QuantizedLinear,
    has_engine,
    pack_four,
    to_rows,
    unpack_four,
)

PRECISIONS = [Precision(8), Precision(8, 8), Precision(4, None, 16), Precision(4, 8, 16)]


def layers(precision: Precision) -> tuple[nn.Linear, QuantizedLinear]:
    torch.manual_seed(0)
    full = nn.Linear(64, 48)
    low = QuantizedLinear(64, 48, True, precision)
    return full, low.fill(*own_rows(full), full.bias)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@torch.no_grad()
def test_it_says_nearly_what_the_full_layer_says(precision: Precision) -> None:
    full, low = layers(precision)
    x = torch.randn(3, 7, 64)
    error = (low(x) - full(x)).norm() / full(x).norm()
    assert error < (0.1 if precision.bits == 4 else 0.01)
    assert low(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p.activations], ids=str)
@torch.no_grad()
def test_a_row_depends_on_no_other_row(precision: Precision) -> None:
    _, low = layers(precision)
    x = torch.randn(9, 64) * torch.logspace(-3, 3, 9)[:, None]
    whole = low(x)
    for row in range(9):
        assert torch.equal(low(x[row : row + 1])[0], whole[row])


@torch.no_grad()
def test_without_the_engine_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, low = layers(Precision(8, 8))
    x = torch.randn(9, 64)
    fast = low(x)
    monkeypatch.setattr(quantized_linear, "has_engine", lambda: False)
    assert (low(x) - fast).abs().max() < 1e-5 * fast.abs().max()


@pytest.mark.skipif(not has_engine(), reason="this CPU or torch has no exact 8-bit product")
def test_the_integer_product_is_exact() -> None:
    torch.manual_seed(0)
    int8 = torch.randint(-127, 128, (48, 640), dtype=torch.int8)
    codes = torch.randint(0, 256, (5, 640), dtype=torch.uint8)
    packed = quantized_linear.pack_int8(int8)
    product = quantized_linear.multiply(codes, packed, torch.ones(48))
    assert torch.equal(product.double(), (codes.double() - 128) @ int8.double().T)


def test_rows_of_zeros_and_the_largest_number() -> None:
    codes, scale = to_rows(torch.tensor([[0.0, 0.0], [2.54, -1.27]]))
    assert codes.tolist() == [[128, 128], [255, 64]] or codes.tolist() == [[128, 128], [255, 65]]
    assert torch.allclose(scale[1], torch.tensor(0.02))


def test_four_bits_come_back_as_they_were_kept() -> None:
    factor = torch.tensor([[3], [18]], dtype=torch.int8)
    codes = torch.tensor([[-7, 7, 0, 1], [7, -7, 2, -1]], dtype=torch.int8)
    kept = pack_four(codes * factor, 4)
    assert kept[0].dtype == torch.uint8
    assert kept[0].shape == (2, 2)
    assert torch.equal(kept[1], factor)
    assert torch.equal(unpack_four(*kept), codes * factor)


def test_the_columns_that_count_are_rounded_best() -> None:
    torch.manual_seed(0)
    int8 = torch.randint(-90, 91, (64, 32), dtype=torch.int8)
    power = torch.ones(32)
    power[::4] = 100
    error = [
        (unpack_four(*pack_four(int8, 32, p)).float() - int8.float()).square() @ power
        for p in (None, power)
    ]
    assert error[1].sum() < error[0].sum()


def test_scales_learn_and_codes_stay() -> None:
    _, low = layers(Precision(4, 8, 16))
    low(torch.randn(4, 64)).square().sum().backward()
    assert low.scale.grad is not None
    assert low.scale.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("bits", "activations", "group"), [(3, None, 0), (8, 4, 0), (8, 8, 16), (4, 8, 0)]
)
def test_impossible_precisions_are_refused(bits: int, activations: int, group: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        Precision(bits, activations, group)


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@torch.no_grad()
def test_other_weights_take_effect_after_a_product(precision: Precision) -> None:
    _, low = layers(precision)
    torch.manual_seed(5)
    other = nn.Linear(64, 48)
    loaded = QuantizedLinear(64, 48, True, precision).fill(*own_rows(other), other.bias)
    x_NK = torch.randn(3, 64)
    low(x_NK)  # keeps a packed copy
    low.load_state_dict(loaded.state_dict())
    assert torch.equal(low(x_NK), loaded(x_NK))

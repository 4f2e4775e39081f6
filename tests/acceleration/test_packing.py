from __future__ import annotations

import pytest
import torch
from torch import nn

from demask.acceleration.packing import MOST_ROWS, PackedLinear, can_pack, pack
from demask.transformer.maskgit import MaskGIT, MaskGITConfig

CONFIG = MaskGITConfig(
    codebook_size=11, num_classes=3, grid=(4, 4), width=64, depth=2, heads=2, mlp_width=96
)
needs_mkl = pytest.mark.skipif(not can_pack(nn.Linear(2, 2)), reason="this torch has no MKL")


def ids(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(11, (batch, 16), generator=generator), torch.zeros(batch).long()


@pytest.fixture
def model() -> MaskGIT:
    torch.manual_seed(0)
    return MaskGIT(CONFIG).eval()


@needs_mkl
@torch.inference_mode()
def test_logits_stay_the_same_up_to_rounding(model: MaskGIT) -> None:
    plain = {batch: model(*ids(batch)) for batch in (1, 2)}
    keys = list(model.state_dict())
    assert pack(model) == 2 * 6 + 1
    assert list(model.state_dict()) == keys
    assert isinstance(model.blocks[0].attention.query, PackedLinear)
    for batch, logits in plain.items():
        torch.testing.assert_close(model(*ids(batch)), logits, rtol=1e-4, atol=1e-6)


@needs_mkl
@torch.inference_mode()
def test_the_packed_weight_is_what_is_used() -> None:
    linear = nn.Linear(64, 32)
    packed = PackedLinear(linear)
    x = torch.randn(2, 3, 64)
    expected = linear(x)
    torch.testing.assert_close(packed(x), expected, rtol=1e-4, atol=1e-6)
    linear.weight.zero_()
    torch.testing.assert_close(packed(x), expected, rtol=1e-4, atol=1e-6)


@needs_mkl
@torch.inference_mode()
def test_what_came_before_does_not_matter() -> None:
    torch.manual_seed(0)
    packed = PackedLinear(nn.Linear(64, 32))
    x = torch.randn(7, 64)
    first = packed(x)
    packed(torch.randn(12, 64))
    assert torch.equal(packed(x), first)
    many = torch.randn(MOST_ROWS + 1, 64)
    assert torch.equal(packed(many), nn.functional.linear(many, packed.weight, packed.bias))


@needs_mkl
def test_gradients_still_flow(model: MaskGIT) -> None:
    pack(model)
    model(*ids(1)).sum().backward()
    assert model.blocks[0].attention.query.weight.grad is not None


@torch.inference_mode()
def test_other_types_are_left_alone(model: MaskGIT) -> None:
    assert pack(model.double()) == 0
    assert type(model.blocks[0].attention.query) is nn.Linear

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from demask.acceleration.packing import can_pack, pack
from demask.transformer import packed_linear
from demask.transformer.joint_attention import BlockSizes
from demask.transformer.joint_blocks import SingleBlock
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.packed_linear import MKL_ROWS, PackedLinear, gelu, packable, prefers_mkl

CONFIG = MaskGITConfig(
    codebook_size=11, num_classes=3, grid=(4, 4), width=64, depth=2, heads=2, mlp_width=96
)
needs_packing = pytest.mark.skipif(
    not packable(torch.float32), reason="this torch has no packed products"
)
needs_bf16 = pytest.mark.skipif(
    not packable(torch.bfloat16), reason="a processor without bfloat16 instructions"
)


def ids(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(11, (batch, 16), generator=generator), torch.zeros(batch).long()


@pytest.fixture
def model() -> MaskGIT:
    torch.manual_seed(0)
    return MaskGIT(CONFIG).eval()


@pytest.fixture(params=[False, True], ids=["oneDNN", "MKL"])
def intel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both engines, whatever the processor."""
    monkeypatch.setattr(packed_linear, "is_intel", lambda: request.param)
    if request.param and not prefers_mkl(MKL_ROWS[0], torch.float32):
        pytest.skip("this torch has no MKL")
    return request.param


@needs_packing
@torch.inference_mode()
def test_logits_stay_the_same_up_to_rounding(model: MaskGIT, intel: bool) -> None:
    plain = {batch: model(*ids(batch)) for batch in (1, 2, 20)}
    keys = list(model.state_dict())
    assert pack(model) == 2 * 6 + 1
    assert list(model.state_dict()) == keys
    layer = model.blocks[0].attention.query
    assert isinstance(layer, PackedLinear)
    for batch, logits in plain.items():
        torch.testing.assert_close(model(*ids(batch)), logits, rtol=1e-4, atol=1e-6)
        assert layer.packed
    assert (layer.packed_mkl is not None) == intel  # 20 images are 340 rows


@needs_packing
@torch.inference_mode()
def test_the_packed_weight_is_what_is_used(intel: bool) -> None:
    linear = nn.Linear(64, 32)
    packed = PackedLinear(linear)
    x = torch.randn(2, MKL_ROWS[0], 64)
    expected = linear(x)
    torch.testing.assert_close(packed(x), expected, rtol=1e-4, atol=1e-6)
    linear.weight.zero_()
    torch.testing.assert_close(packed(x), expected, rtol=1e-4, atol=1e-6)


@needs_packing
@torch.inference_mode()
def test_what_came_before_does_not_matter(intel: bool) -> None:
    torch.manual_seed(0)
    packed = PackedLinear(nn.Linear(64, 32))
    many, few = torch.randn(300, 64), torch.randn(7, 64)
    first = packed(many), packed(few)
    packed(torch.randn(512, 64))
    packed(torch.randn(2000, 64))
    packed(torch.randn(12, 64))
    assert torch.equal(packed(many), first[0])
    assert torch.equal(packed(few), first[1])


@needs_packing
@torch.inference_mode()
def test_other_numbers_of_rows_are_not_packed_anew() -> None:
    packed = PackedLinear(nn.Linear(64, 32))
    packed(torch.randn(7, 64))
    (copy_of_7,) = packed.packed.values()
    packed(torch.randn(2, 9, 64))
    (copy_of_18,) = packed.packed.values()
    assert copy_of_18 is copy_of_7


@needs_packing
@torch.inference_mode()
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_fused_and_the_same(approximate: str) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 32), 4 * torch.randn(2, 3, 64)
    expected = F.gelu(linear(x), approximate=approximate)
    assert (expected < -0.1).any()
    torch.testing.assert_close(gelu(linear, x, approximate), expected)
    packed = PackedLinear(linear)
    torch.testing.assert_close(gelu(packed, x, approximate), expected, rtol=1e-4, atol=2e-6)


def test_gelu_keeps_gradients() -> None:
    linear, x = nn.Linear(8, 4), torch.randn(3, 8)
    out = gelu(PackedLinear(linear), x)
    out.sum().backward()
    assert linear.weight.grad is not None
    assert torch.equal(out, F.gelu(linear(x)))


@needs_packing
@torch.inference_mode()
def test_parts_are_multiplied_without_being_joined() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 32)
    parts = torch.randn(2, 5, 64), torch.randn(2, 5, 32)
    expected = linear(torch.cat(parts, dim=-1))
    out = PackedLinear(linear).product_of_parts(parts)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-6)


@needs_packing
@torch.inference_mode()
def test_meissonics_single_block() -> None:
    torch.manual_seed(0)
    block = SingleBlock(BlockSizes(64, 2)).eval()
    x_BND, vector_BD = torch.randn(2, 9, 64), torch.randn(2, 64)
    rotary = torch.stack([torch.ones(9, 16), torch.zeros(9, 16)])
    expected = block(x_BND, vector_BD, rotary)
    pack(block)
    out = block(x_BND, vector_BD, rotary)
    assert isinstance(block.proj_out, PackedLinear)
    assert len(block.proj_out.packed) == 2
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@needs_bf16
@torch.inference_mode()
def test_bfloat16_is_packed_too() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 32).bfloat16(), torch.randn(5, 64).bfloat16()
    module = nn.Sequential(linear)
    expected = module(x)
    assert pack(module) == 1
    assert module(x).dtype == torch.bfloat16
    assert module[0].packed
    torch.testing.assert_close(module(x), expected)


@needs_packing
@torch.inference_mode()
def test_another_type_begins_anew() -> None:
    torch.manual_seed(0)
    packed = PackedLinear(nn.Linear(64, 32))
    x = torch.randn(5, 64)
    first = packed(x)
    assert packed.double()(x.double()).dtype == torch.float64
    torch.testing.assert_close(packed.float()(x), first)


@needs_packing
@torch.inference_mode()
def test_a_copy_can_be_made(model: MaskGIT) -> None:
    pack(model)
    expected = model(*ids(1))
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(*ids(1)), expected)


@needs_packing
def test_gradients_still_flow(model: MaskGIT) -> None:
    pack(model)
    model(*ids(1)).sum().backward()
    assert model.blocks[0].attention.query.weight.grad is not None


@torch.inference_mode()
def test_other_types_are_left_alone(model: MaskGIT) -> None:
    assert pack(model.double()) == 0
    assert type(model.blocks[0].attention.query) is nn.Linear


def test_nothing_is_packed_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    packable.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    try:
        assert not can_pack(nn.Linear(2, 2))
    finally:
        packable.cache_clear()


@needs_packing
@torch.inference_mode()
def test_other_weights_take_effect_after_a_product() -> None:
    first, other = nn.Linear(64, 64), nn.Linear(64, 64)
    packed, x = PackedLinear(first), torch.randn(3, 64)
    packed(x)  # keeps a packed copy
    packed.load_state_dict(other.state_dict())
    torch.testing.assert_close(packed(x), other(x), rtol=1e-4, atol=1e-6)

"""Our small MaskGIT and its layers."""

from __future__ import annotations

import pytest
import torch

from demask.transformer.layers import Attention, received, rotary_2d, rotate
from demask.transformer.modern_maskgit import Block, ModernMaskGITConfig
from demask.types import Condition, Step, TokenLayout
from tiny import tiny_transformer


def step(grid: tuple[int, int]) -> Step:
    return Step(0, 1, TokenLayout(grid), torch.ones(1))


@torch.no_grad()
def test_predict_gives_codebook_logits_and_features() -> None:
    model = tiny_transformer()
    ids_BL = torch.randint(0, 16, (3, 16), generator=torch.Generator().manual_seed(0))
    before = ids_BL.clone()
    condition = Condition({"class_ids": torch.tensor([0, 1, 3])})
    prediction = model.predict(ids_BL, condition, step((4, 4)))
    assert prediction.logits_BLV.shape == (3, 16, 15)
    assert prediction.features.shape == (3, 16, 32)
    assert torch.equal(ids_BL, before)
    assert torch.equal(prediction.logits_BLV, model(ids_BL, condition["class_ids"]))


@torch.no_grad()
def test_the_class_matters_and_so_does_every_position() -> None:
    model = tiny_transformer()
    ids_BL = torch.full((1, 16), model.mask_id)
    one, other = (model(ids_BL, torch.tensor([c])) for c in (0, 1))
    assert not torch.allclose(one, other, atol=1e-3)
    ids_BL[0, 5] = 3
    changed = (model(ids_BL, torch.tensor([0])) - one).abs().amax(-1)[0]
    assert (changed > 1e-6).all(), "attention reaches every token"


@torch.no_grad()
def test_batch_mates_do_not_matter_in_float64() -> None:
    model = tiny_transformer().double()
    ids_BL = torch.randint(0, 16, (4, 16), generator=torch.Generator().manual_seed(0))
    class_ids_B = torch.tensor([0, 1, 2, 3])
    together = model(ids_BL, class_ids_B)
    alone = model(ids_BL[2:3], class_ids_B[2:3])
    assert torch.allclose(together[2:3], alone, atol=1e-12)


@torch.no_grad()
def test_another_grid_has_its_own_rows_and_columns() -> None:
    model = tiny_transformer()
    ids_BL = torch.randint(0, 15, (1, 24), generator=torch.Generator().manual_seed(0))
    condition = Condition({"class_ids": torch.tensor([0])})
    wide_BLV = model.predict(ids_BL, condition, step((4, 6))).logits_BLV
    assert wide_BLV.shape == (1, 24, 15)
    assert torch.equal(wide_BLV, model(ids_BL, condition["class_ids"], (4, 6)))
    tall_BLV = model.predict(
        ids_BL.view(1, 4, 6).mT.flatten(1), condition, step((6, 4))
    ).logits_BLV.unflatten(1, (6, 4))
    assert not torch.allclose(wide_BLV, tall_BLV.transpose(1, 2).flatten(1, 2), atol=1e-3)


@pytest.mark.parametrize("grid", [(2, 5), (3, 2)])
def test_rotary_angles_are_those_of_row_and_column(grid: tuple[int, int]) -> None:
    """The first half of the angles turns with the row, the second with the column."""
    cos_LK, sin_LK = rotary_2d(grid, 8, torch.device("cpu"), theta=100.0)
    for row in range(grid[0]):
        for column in range(grid[1]):
            angle_K = torch.tensor([row, row / 10, column, column / 10])
            place = row * grid[1] + column
            torch.testing.assert_close(cos_LK[place], angle_K.cos())
            torch.testing.assert_close(sin_LK[place], angle_K.sin())


@torch.no_grad()
def test_dropout_is_for_training_alone() -> None:
    torch.manual_seed(0)
    sizes = {"codebook_size": 4, "num_classes": 1, "width": 8, "heads": 1, "mlp_width": 8}
    block = Block(ModernMaskGITConfig(**sizes, dropout=1.0))
    block.modulation.fill_(1.0)
    x_BLD, shared_B6D = torch.randn(1, 4, 8), torch.zeros(1, 6, 8)
    rotary = rotary_2d((2, 2), 8, torch.device("cpu"))
    trained_BLD = block.train()(x_BLD, shared_B6D, rotary)
    assert torch.equal(trained_BLD, x_BLD), "all of both branches is dropped"
    whole = Block(ModernMaskGITConfig(**sizes))
    whole.load_state_dict(block.state_dict())
    found_BLD = block.eval()(x_BLD, shared_B6D, rotary)
    assert torch.equal(found_BLD, whole(x_BLD, shared_B6D, rotary))
    assert not torch.allclose(found_BLD, x_BLD, atol=1e-3)


def test_unconditional_is_the_dropped_class() -> None:
    assert tiny_transformer().unconditional()["class_ids"].tolist() == [3]


def test_rotary_positions_are_relative() -> None:
    """The product of a rotated query and key depends on their distance alone."""
    rotary = rotary_2d((5, 5), 8, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 8, generator=generator).expand(25, 2, 8).unbind(1)
    q, k = rotate(q, rotary), rotate(k, rotary)
    products = (q @ k.T).view(5, 5, 5, 5)
    assert products[0, 0, 2, 1].item() == pytest.approx(products[2, 3, 4, 4].item(), abs=1e-5)
    assert products[0, 0, 2, 1].item() != pytest.approx(products[0, 0, 1, 2].item(), abs=1e-3)


@torch.no_grad()
def test_extra_values_change_values_alone() -> None:
    torch.manual_seed(0)
    attention = Attention(16, 2)
    rotary = rotary_2d((2, 2), 8, torch.device("cpu"))
    x, extra = torch.randn(2, 1, 4, 16).unbind(0)
    plain = attention(x, rotary)
    assert torch.equal(attention(x, rotary, torch.zeros_like(x)), plain)
    # values are linear, and attention weights do not see the extra
    once, twice = attention(x, rotary, extra) - plain, attention(x, rotary, 2 * extra) - plain
    assert torch.allclose(2 * once, twice, atol=1e-5)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 30"):
        ModernMaskGITConfig(codebook_size=4, num_classes=1, width=30, heads=4)


@torch.no_grad()
def test_attention_is_told_beside_the_same_prediction() -> None:
    model = tiny_transformer()
    ids_BL = torch.randint(0, 16, (2, 16), generator=torch.Generator().manual_seed(0))
    condition = Condition({"class_ids": torch.tensor([0, 3])})
    looked = Step(0, 4, TokenLayout((4, 4)), torch.ones(2))
    told, attention_BL = model.predict_with_attention(ids_BL, condition, looked)
    plain = model.predict(ids_BL, condition, looked)
    assert torch.equal(told.logits_BLV, plain.logits_BLV)
    assert torch.equal(told.features, plain.features)
    torch.testing.assert_close(attention_BL.mean(-1), torch.ones(2))
    assert attention_BL.std() > 0.01


def test_received_attention_is_the_column_sum_of_the_attention() -> None:
    query_BHNK, key_BHNK = torch.randn(2, 3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    each_BHNN = torch.eye(5).expand(3, 2, 5, 5)
    weight_BHNN = torch.nn.functional.scaled_dot_product_attention(query_BHNK, key_BHNK, each_BHNN)
    expected_BN = weight_BHNN.mean(1).sum(1)
    torch.testing.assert_close(received(query_BHNK, key_BHNK), expected_BN)


@torch.no_grad()
def test_the_attention_is_that_of_the_last_block() -> None:
    """Of the layer's own inputs, caught where the last block attends."""
    model, seen = tiny_transformer(), []
    layer = model.blocks[-1].attention
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    ids_BL = torch.randint(0, 16, (2, 16), generator=torch.Generator().manual_seed(1))
    told = Condition({"class_ids": torch.tensor([1, 2])})
    attention_BL = model.predict_with_attention(ids_BL, told, step((4, 4)))[1]
    assert torch.equal(attention_BL, layer.received(*seen[0][:2]))

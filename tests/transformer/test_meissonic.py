"""Meissonic: any grid, what it is told, and what it must not do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.joint_blocks import Modulated
from demask.transformer.meissonic import (
    Downsample,
    Meissonic,
    MeissonicConfig,
    Upsample,
    sinusoid,
)
from demask.types import Condition, Step, TokenLayout
from tiny import tiny_meissonic

GRIDS = [(2, 2), (4, 4), (2, 6), (6, 2), (8, 4)]


def condition(batch: int, seed: int = 0) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([[16.0, 16, 0, 0, 6]]).expand(batch, -1)
    return Condition(
        {
            "states": torch.randn(batch, 6, 16, generator=generator),
            "pooled": torch.randn(batch, 16, generator=generator),
            "micro": sizes + torch.arange(batch)[:, None],
        }
    )


def ids(batch: int, grid: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 16, (batch, grid[0] * grid[1]), generator=generator)


def uncompressed() -> Meissonic:
    torch.manual_seed(4)
    model = Meissonic(replace(tiny_meissonic().config, compress=False)).eval()
    nn.init.normal_(model.mlm_layer.conv2.weight, std=0.5)
    return model


def changes(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) > 1e-4


def test_published_size() -> None:
    with torch.device("meta"):
        model = Meissonic(MeissonicConfig())
    assert sum(p.numel() for p in model.parameters()) == 1_006_946_304
    modulation = (m for m in model.modules() if isinstance(m, Modulated))
    count = sum(p.numel() for m in modulation for p in m.parameters())
    assert round(count / 1e6) == 264
    assert (model.codebook_size, model.mask_id, model.layout.grid) == (8192, 8255, (64, 64))


@pytest.mark.parametrize("grid", GRIDS)
@torch.no_grad()
def test_any_grid_of_any_batch(grid: tuple[int, int]) -> None:
    model = tiny_meissonic()
    for batch in (1, 3):
        ids_BL, here = ids(batch, grid), Step(0, 1, TokenLayout(grid), torch.full((batch,), 0.5))
        prediction = model.predict(ids_BL, condition(batch), here)
        assert prediction.logits_BLV.shape == (batch, grid[0] * grid[1], 15)
        assert prediction.features is not None
        assert prediction.features.shape == (batch, grid[0] * grid[1] // 4, 16)
        logits_BLV = model(ids_BL, condition(batch), here.mask_ratio_B, grid)
        assert torch.equal(prediction.logits_BLV, logits_BLV)


@torch.no_grad()
def test_the_shape_of_the_grid_matters() -> None:
    model, ids_BL = tiny_meissonic(), ids(1, (4, 4))
    answers = [model(ids_BL, condition(1), torch.ones(1), grid) for grid in ((4, 4), (2, 8))]
    assert changes(*answers)
    assert torch.equal(model(ids_BL, condition(1), torch.ones(1)), answers[0]), "trained by default"


@pytest.mark.parametrize("grid", [(3, 4), (4, 3), (5, 5)])
@torch.no_grad()
def test_feature_compression_needs_even_sides(grid: tuple[int, int]) -> None:
    ids_BL, here = ids(1, grid), torch.ones(1)
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} ids: feature.*even") as error:
        tiny_meissonic()(ids_BL, condition(1), here, grid)
    assert "\n" not in str(error.value)
    assert uncompressed()(ids_BL, condition(1), here, grid).shape == (1, grid[0] * grid[1], 15)
    assert (tiny_meissonic().grid_multiple, uncompressed().grid_multiple) == (2, 1)


@pytest.mark.parametrize("grid", GRIDS)
@torch.no_grad()
def test_compression_is_the_strided_convolutions(grid: tuple[int, int]) -> None:
    """Of the feature maps that ids in row-major order make."""
    torch.manual_seed(0)
    down, up = Downsample(8), Upsample(8)
    x_BLD = torch.randn(2, grid[0] * grid[1], 8)
    x_BDHW = down.norm(x_BLD).transpose(1, 2).unflatten(2, grid)
    expected = F.conv2d(x_BDHW, down.conv.weight, stride=2).flatten(2).transpose(1, 2)
    assert torch.allclose(down(x_BLD, grid), expected, atol=1e-6)
    x_BND = expected
    x_BDHW = up.norm(x_BND).transpose(1, 2).unflatten(2, (grid[0] // 2, grid[1] // 2))
    expected = F.conv_transpose2d(x_BDHW, up.conv.weight, stride=2).flatten(2).transpose(1, 2)
    assert torch.allclose(up(x_BND, grid), expected, atol=1e-6)


@torch.no_grad()
def test_every_id_reaches_every_logit() -> None:
    for model in (tiny_meissonic(), uncompressed()):
        masked_BL = torch.full((1, 24), model.mask_id)
        plain = model(masked_BL, condition(1), torch.ones(1), (4, 6))
        for position in (0, 7, 23):
            ids_BL = masked_BL.clone()
            ids_BL[0, position] = 3
            changed = model(ids_BL, condition(1), torch.ones(1), (4, 6)) - plain
            assert (changed.abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("name", ["states", "pooled", "micro"])
@torch.no_grad()
def test_it_reads_all_of_its_condition(name: str) -> None:
    model, told = tiny_meissonic(), condition(1)
    other = Condition({**told.tensors, name: told[name] + 1})
    answers = [model(ids(1, (4, 4)), c, torch.ones(1)) for c in (told, other)]
    assert changes(*answers)


@torch.no_grad()
def test_released_weights_are_told_how_many_steps_are_left() -> None:
    model = Meissonic(replace(tiny_meissonic().config, time="step_index"))
    model.load_state_dict(tiny_meissonic().state_dict())

    def told(index: int, steps: int, ratio: float) -> Tensor:
        here = Step(index, steps, TokenLayout((4, 4)), torch.tensor([ratio]))
        return model.predict(ids(1, (4, 4)), condition(1), here).logits_BLV

    assert torch.equal(told(3, 8, 0.9), told(3, 8, 0.1))
    assert torch.equal(told(3, 8, 0.5), told(7, 12, 0.5)), "four are left in both"
    assert changes(told(3, 8, 0.5), told(4, 8, 0.5))
    expected = model(ids(1, (4, 4)), condition(1), torch.tensor([0]))
    assert torch.equal(told(7, 8, 0.5), expected), "the last step is 0"


@torch.no_grad()
def test_our_own_weights_are_told_how_much_is_masked() -> None:
    model = tiny_meissonic()

    def told(index: int, *ratios: float) -> Tensor:
        count = len(ratios)
        same = condition(1).take(torch.zeros(count, dtype=torch.long))
        ids_BL = ids(1, (4, 4)).repeat(count, 1)
        here = Step(index, 8, TokenLayout((4, 4)), torch.tensor(ratios, dtype=torch.float64))
        return model.predict(ids_BL, same, here).logits_BLV

    assert torch.equal(told(0, 0.5), told(7, 0.5))
    both = told(0, 0.9, 0.1)
    assert changes(both[:1], both[1:])
    assert torch.allclose(both[1:], told(0, 0.1), atol=1e-5), "each image its own"


@torch.no_grad()
def test_nothing_is_modified() -> None:
    model, told, ids_BL = tiny_meissonic(), condition(2), ids(2, (4, 4))
    here = Step(0, 4, TokenLayout((4, 4)), torch.tensor([0.5, 0.25]))
    before = [t.clone() for t in (ids_BL, here.mask_ratio_B, *told.tensors.values())]
    model.predict(ids_BL, told, here)
    assert all(map(torch.equal, before, (ids_BL, here.mask_ratio_B, *told.tensors.values())))


@pytest.mark.parametrize("grid", [(4, 4), (2, 6)])
@torch.no_grad()
def test_batch_mates_do_not_matter_in_float64(grid: tuple[int, int]) -> None:
    model, told, ids_BL = tiny_meissonic().double(), condition(4), ids(4, grid)
    ratio_B = torch.tensor([0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    together = model(ids_BL, told, ratio_B, grid)
    assert together.dtype == torch.float64
    for index in ([2], [3, 0]):
        part = torch.tensor(index)
        alone = model(ids_BL[part], told.take(part), ratio_B[part], grid)
        assert torch.allclose(together[part], alone, atol=1e-12, rtol=0)


@torch.no_grad()
def test_half_precision_stays_finite() -> None:
    """Residual streams beyond 65,504 are cut, where they would become inf and then nan."""
    model = tiny_meissonic().half()
    for branch in (
        model.transformer_blocks[0].ff.net[2],
        model.transformer_blocks[0].ff_context.net[2],
        model.single_transformer_blocks[0].proj_out,
    ):
        branch.bias.fill_(60_000)
    for part in model.modules():
        if isinstance(part, Modulated):
            part.linear.bias.view(part.ways, -1)[2::3] = 3
    logits_BLV = model(ids(2, (4, 4)), condition(2), torch.ones(2))
    assert logits_BLV.dtype == torch.float16
    assert logits_BLV.isfinite().all()


def test_it_can_be_trained() -> None:
    model = tiny_meissonic().train()
    model(ids(2, (4, 4)), condition(2), torch.ones(2)).logsumexp(-1).sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None]
    # text's way out of the last multi-modal block is read by the single blocks
    assert still == []


def test_a_new_model_guesses_evenly() -> None:
    model = Meissonic(tiny_meissonic().config)
    with torch.no_grad():
        logits_BLV = model(ids(1, (4, 4)), condition(1), torch.ones(1))
    assert (logits_BLV == 0).all()


def test_sinusoids_begin_with_the_cosines() -> None:
    wave = sinusoid(torch.tensor([0.0, 3.0]))
    assert wave.shape == (2, 256)
    assert wave[0].tolist() == [1.0] * 128 + [0.0] * 128
    assert float(wave[1, 0]) == pytest.approx(float(torch.tensor(3.0).cos()))
    assert float(wave[1, 128]) == pytest.approx(float(torch.tensor(3.0).sin()))
    slowest = 10_000 ** (-127 / 128)
    assert float(wave[1, 255]) == pytest.approx(3 * slowest, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": (0, 4, 2)}, r"axes \(0, 4, 2\) must be even and sum to head_width"),
        ({"axes": (1, 3, 4)}, "must be even"),
        ({"vocabulary": 15}, "needs a mask id beyond the codebook"),
        ({"time": "step"}, "unknown time 'step'. Valid: step_index, mask_ratio"),
        ({"grid": (3, 4)}, "3x4 ids: feature compression needs even sides"),
    ],
)
def test_sizes_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny_meissonic().config, **change)

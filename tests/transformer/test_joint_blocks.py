"""The blocks of Meissonic: positions on three axes, and two streams that meet in attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from demask.transformer.joint_attention import BlockSizes, rotary_axes, rotate
from demask.transformer.joint_blocks import (
    Modulated,
    MultiModalBlock,
    SingleBlock,
    finite,
    modulate,
)

TEXTS, GRID, AXES = 3, (3, 5), (2, 4, 6)
WIDTH = sum(AXES)
PLACES = GRID[0] * GRID[1]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotary() -> Tensor:
    return rotary_axes(TEXTS, GRID, AXES, torch.zeros(1))


@pytest.fixture(params=["learning", "generating"])
def grad(request: pytest.FixtureRequest):
    """With and without gradients, which may take different ways."""
    with torch.set_grad_enabled(request.param == "learning"):
        yield


def products() -> Tensor:
    """Of one query and one key, placed everywhere: (N, N)."""
    q, k = (noise(WIDTH, seed=s).expand(1, TEXTS + PLACES, 1, WIDTH) for s in (1, 2))
    q_NK, k_NK = (rotate(x, rotary())[0, :, 0] for x in (q, k))
    return q_NK @ k_NK.T


def place(row: int, column: int) -> int:
    """Where an image token is in the sequence."""
    return TEXTS + row * GRID[1] + column


def test_image_tokens_see_how_far_apart_they_are_on_each_axis(grad: None) -> None:
    product = products()
    for row, column in ((1, 2), (2, -1), (0, 1)):
        found = [
            product[place(r, c), place(r + row, c + column)]
            for r in range(GRID[0] - row)
            for c in range(max(0, -column), GRID[1] - max(0, column))
        ]
        assert len(found) > 1
        assert torch.allclose(torch.stack(found), found[0], atol=1e-5)
    right, below = product[place(0, 0), place(0, 1)], product[place(0, 0), place(1, 0)]
    assert abs(float(right - below)) > 1e-3
    left = product[place(0, 1), place(0, 0)]
    assert abs(float(right - left)) > 1e-3


def test_all_text_stands_at_the_image_s_first_token(grad: None) -> None:
    product = products()
    for text in range(TEXTS):
        assert torch.allclose(product[text], product[place(0, 0)], atol=1e-6)
    x_BNHK = noise(1, TEXTS + PLACES, 2, WIDTH)
    turned = rotate(x_BNHK, rotary())
    assert torch.allclose(turned[:, : TEXTS + 1], x_BNHK[:, : TEXTS + 1], atol=1e-6)
    assert not torch.allclose(turned[:, TEXTS + 1], x_BNHK[:, TEXTS + 1], atol=1e-2)


def test_channels_of_an_axis_turn_with_it_alone(grad: None) -> None:
    x_BNHK = noise(1, 1, 1, WIDTH).expand(1, TEXTS + PLACES, 1, WIDTH)
    turned = rotate(x_BNHK, rotary())[0, :, 0]
    origin = turned[place(0, 0)].split(AXES)
    for at, moving in (((2, 0), 1), ((0, 2), 2)):
        parts = turned[place(*at)].split(AXES)
        moved = [not torch.allclose(a, b, atol=1e-4) for a, b in zip(parts, origin, strict=True)]
        assert moved == [axis == moving for axis in range(3)]


def test_turning_keeps_lengths_and_the_type(grad: None) -> None:
    for dtype in (torch.float64, torch.float32, torch.float16):
        x_BNHK = noise(1, TEXTS + PLACES, 2, WIDTH).to(dtype)
        before = x_BNHK.clone()
        turned = rotate(x_BNHK, rotary())
        assert turned.dtype == dtype
        assert torch.equal(x_BNHK, before)
        norms = turned.double().norm(dim=-1) / x_BNHK.double().norm(dim=-1)
        assert torch.allclose(norms, torch.ones_like(norms), atol=2e-3)


def test_neighbouring_channels_turn_together(grad: None) -> None:
    """Channels 2k and 2k + 1, as in the released weights, and not k and k + K / 2."""
    x_BNHK = torch.zeros(1, TEXTS + PLACES, 1, WIDTH, dtype=torch.float64)
    x_BNHK[..., AXES[0]] = 1
    turned = rotate(x_BNHK, rotary())[0, place(1, 0), 0].tolist()
    expected = [0.0] * WIDTH
    expected[AXES[0] : AXES[0] + 2] = math.cos(1), math.sin(1)
    assert turned == pytest.approx(expected, abs=1e-6)


def test_half_precision_is_cut_to_the_finite_range() -> None:
    values = [1e9, -1e9, 3.0]
    assert finite(torch.tensor(values).half()).tolist() == [65504, -65504, 3]
    for dtype in (torch.float32, torch.bfloat16):
        wide = torch.tensor(values, dtype=dtype)
        assert torch.equal(finite(wide), wide)


def block(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    module = kind(BlockSizes(2 * WIDTH, 2)).double()
    for part in module.modules():
        if isinstance(part, Modulated):
            part.reset(0.5)
    return module


def single(image_BND: Tensor, turns: Tensor) -> Tensor:
    return block(SingleBlock)(image_BND, noise(len(image_BND), 2 * WIDTH, seed=9), turns)


def test_a_single_block_knows_tokens_by_their_positions_alone(grad: None) -> None:
    """Tokens that change places, and take their positions along, change nothing else."""
    x_BND = noise(2, TEXTS + PLACES, 2 * WIDTH)
    order = torch.randperm(TEXTS + PLACES, generator=torch.Generator().manual_seed(1))
    turns = rotary()
    moved = single(x_BND[:, order], turns[..., order, :])
    assert torch.allclose(moved, single(x_BND, turns)[:, order], atol=1e-6)
    assert not torch.allclose(moved, single(x_BND[:, order], turns), atol=1e-4)


def streams() -> tuple[Tensor, Tensor, Tensor]:
    """Text, image and condition of two images."""
    return (
        noise(2, TEXTS, 2 * WIDTH, seed=1),
        noise(2, PLACES, 2 * WIDTH, seed=2),
        noise(2, 2 * WIDTH, seed=3),
    )


def test_text_and_image_see_each_other(grad: None) -> None:
    module = block(MultiModalBlock)
    text, image, vector = streams()
    before = [t.clone() for t in (text, image, vector)]
    plain = module(text, image, vector, rotary())
    assert [t.shape for t in plain] == [text.shape, image.shape]
    assert all(map(torch.equal, before, (text, image, vector)))
    changed = text.clone()
    changed[:, 0] = noise(2 * WIDTH, seed=7)
    other = module(changed, image, vector, rotary())
    assert ((other[1] - plain[1]).abs().amax(-1) > 1e-6).all()
    changed = image.clone()
    changed[:, -1] = noise(2 * WIDTH, seed=7)
    other = module(text, changed, vector, rotary())
    assert ((other[0] - plain[0]).abs().amax(-1) > 1e-6).all()


def test_images_of_a_batch_do_not_meet(grad: None) -> None:
    module = block(MultiModalBlock)
    text, image, vector = streams()
    together = module(text, image, vector, rotary())
    alone = module(text[1:], image[1:], vector[1:], rotary())
    assert all(torch.allclose(a[1:], b, atol=1e-12) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("kind", [SingleBlock, MultiModalBlock])
def test_closed_gates_let_nothing_in(kind: type[nn.Module]) -> None:
    module = block(kind)
    for part in module.modules():
        if isinstance(part, Modulated):
            nn.init.zeros_(part.linear.weight)
            nn.init.zeros_(part.linear.bias)
    text, image, vector = streams()
    if kind is SingleBlock:
        assert torch.equal(module(image, vector, rotary()[..., TEXTS:, :]), image)
    else:
        assert all(map(torch.equal, module(text, image, vector, rotary()), (text, image)))


def test_a_new_block_has_small_gates_and_nothing_else() -> None:
    torch.manual_seed(0)
    for kind, ways in ((SingleBlock, 3), (MultiModalBlock, 6)):
        norm = next(m for m in block(kind).modules() if isinstance(m, Modulated))
        parts = norm.linear.bias.view(ways, -1)
        assert (parts[2::3] == 0.5).all()
        assert (parts[0::3] == 0).all()
        assert (parts[1::3] == 0).all()


def test_modulation_is_a_norm_then_scale_and_shift() -> None:
    x_BND, shift, scale = noise(2, 4, 6), noise(2, 1, 6, seed=1), noise(2, 1, 6, seed=2)
    plain = modulate(x_BND, torch.zeros_like(shift), torch.zeros_like(scale))
    assert torch.allclose(plain.mean(-1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(modulate(x_BND, shift, scale), plain * (1 + scale) + shift)


def test_learning_and_generating_agree() -> None:
    x_BND, turns = noise(2, TEXTS + PLACES, 2 * WIDTH), rotary()
    with torch.no_grad():
        frozen = single(x_BND, turns)
    assert torch.allclose(single(x_BND, turns), frozen, atol=1e-6)


def test_generating_and_training_compute_the_same() -> None:
    """Without gradients the blocks save passes over the memory; many rows take another way."""
    torch.manual_seed(0)
    sizes = BlockSizes(32, 2)
    single, joint = SingleBlock(sizes).double(), MultiModalBlock(sizes).double()
    x_BND, vector_BD = torch.randn(2, 640, 32).double(), torch.randn(2, 32).double()
    rotary = rotary_axes(40, (24, 25), (4, 6, 6), x_BND)
    before = x_BND.clone()
    trained = (
        single(x_BND, vector_BD, rotary),
        *joint(x_BND[:, :40], x_BND[:, 40:], vector_BD, rotary),
    )
    with torch.no_grad():
        generated = (
            single(x_BND, vector_BD, rotary),
            *joint(x_BND[:, :40], x_BND[:, 40:], vector_BD, rotary),
        )
    for one, other in zip(trained, generated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(x_BND, before)

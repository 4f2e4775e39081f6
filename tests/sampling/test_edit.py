from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.sampling.edit import (
    Canvas,
    blank,
    blend,
    image_to_image,
    keep,
    outpaint,
    token_mask,
)
from demask.types import TokenLayout

MASK = 9
IDS_BHW = torch.arange(8).view(2, 2, 2)


def test_blank_is_all_masked() -> None:
    canvas = blank(2, TokenLayout((3, 4)), MASK)
    assert canvas.ids_BL.shape == (2, 12)
    assert canvas.masked_BL.all()
    assert not canvas.known_BL.any()


def test_first_state() -> None:
    canvas = keep(IDS_BHW, torch.tensor([[[1, 0], [1, 1]], [[0, 0], [0, 1]]]).bool(), MASK)
    state = canvas.state(3)
    assert (state.step.index, state.step.steps, state.step.layout.grid) == (0, 3, (2, 2))
    assert state.step.mask_ratio_B.tolist() == [0.25, 0.75]
    assert torch.equal(state.masked_BL, ~canvas.known_BL)
    assert not state.unmasked_now_BL.any()
    assert state.logits_BLV is None


@pytest.mark.parametrize("steps", [0, -1, 5])
def test_steps_are_from_one_to_the_tokens(steps: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to the 4 tokens of the image, not {steps}"):
        blank(1, TokenLayout((2, 2)), MASK).state(steps)


def test_keep_masks_what_is_not_known_and_leaves_its_input() -> None:
    known_BHW = torch.zeros(2, 2, 2, dtype=torch.bool)
    known_BHW[:, 0] = True
    ids_BHW = IDS_BHW.clone()
    canvas = keep(ids_BHW, known_BHW, MASK)
    assert canvas.ids_BL.tolist() == [[0, 1, MASK, MASK], [4, 5, MASK, MASK]]
    assert torch.equal(canvas.known_BL, known_BHW.flatten(1))
    assert torch.equal(ids_BHW, IDS_BHW)


def test_canvas_checks() -> None:
    ids_BL, known_BL = torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"shape \(1, 4\) do not fill a grid of 2 x 3"):
        Canvas(ids_BL, known_BL, TokenLayout((2, 3)), MASK)
    with pytest.raises(ValueError, match=r"given tokens has shape \(1, 3\)"):
        Canvas(ids_BL, known_BL[:, :3], TokenLayout((2, 2)), MASK)
    with pytest.raises(ValueError, match="a given token holds 0"):
        Canvas(ids_BL, known_BL, TokenLayout((2, 2)), mask_id=0)
    with pytest.raises(ValueError, match=r"\(1, 2, 2\), the ids \(2, 2, 2\)"):
        keep(IDS_BHW, torch.ones(1, 2, 2).bool(), MASK)


def test_outpaint_places_the_image() -> None:
    canvas = outpaint(IDS_BHW, (3, 4), (1, 2), MASK)
    placed_BHW = canvas.ids_BL.view(2, 3, 4)
    assert torch.equal(placed_BHW[:, 1:, 2:], IDS_BHW)
    assert canvas.known_BL.sum().item() == 8
    assert torch.equal(canvas.masked_BL, ~canvas.known_BL)


@pytest.mark.parametrize("corner", [(2, 0), (0, 3), (-1, 0), (0, -1)])
def test_outpaint_that_does_not_fit_is_an_error(corner: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit a grid of 3 x 4"):
        outpaint(IDS_BHW, (3, 4), corner, MASK)


@pytest.mark.parametrize(("strength", "num_masked"), [(0.0, 0), (0.3, 19), (0.5, 32), (1.0, 64)])
def test_image_to_image_masks_the_asked_fraction(strength: float, num_masked: int) -> None:
    ids_BHW = torch.zeros(3, 8, 8, dtype=torch.long)
    canvas = image_to_image(ids_BHW, strength, rng.image_generators([1, 2, 3]), MASK)
    assert canvas.masked_BL.sum(-1).tolist() == [num_masked] * 3
    assert torch.equal(canvas.known_BL, ~canvas.masked_BL)


def test_image_to_image_of_an_image_depends_on_its_seed_alone() -> None:
    ids_BHW = torch.zeros(2, 8, 8, dtype=torch.long)
    both = image_to_image(ids_BHW, 0.5, rng.image_generators([1, 2]), MASK).masked_BL
    alone = image_to_image(ids_BHW[1:], 0.5, rng.image_generators([2]), MASK).masked_BL
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_image_to_image_strength_is_checked(strength: float) -> None:
    with pytest.raises(ValueError, match="strength is from 0"):
        image_to_image(IDS_BHW, strength, rng.image_generators([1, 2]), MASK)


def test_token_mask_touches_then_grows() -> None:
    pixels_BHW = torch.zeros(1, 20, 16, dtype=torch.bool)
    pixels_BHW[0, 11, 4] = True  # the last row and first column of token (2, 1)
    touched_BHW = token_mask(pixels_BHW, 4, grow=0)
    assert touched_BHW.nonzero().tolist() == [[0, 2, 1]]
    grown_BHW = token_mask(pixels_BHW, 4)
    assert grown_BHW.shape == (1, 5, 4)
    expected_BHW = torch.zeros(1, 5, 4, dtype=torch.bool)
    expected_BHW[0, 1:4, 0:3] = True
    assert torch.equal(grown_BHW, expected_BHW)


def test_token_mask_needs_whole_tokens() -> None:
    with pytest.raises(ValueError, match=r"20 x 18 pixels: both must be multiples of 4"):
        token_mask(torch.zeros(1, 20, 18, dtype=torch.bool), 4)


def test_blend_is_exact_inside_and_far_outside_and_soft_between() -> None:
    original_BCHW = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    generated_BCHW = 1 - original_BCHW
    mask_BHW = torch.zeros(2, 24, 24, dtype=torch.bool)
    mask_BHW[:, :, 12:] = True

    blended_BCHW = blend(original_BCHW, generated_BCHW, mask_BHW, feather=4)

    assert torch.equal(blended_BCHW[..., 12:], generated_BCHW[..., 12:])
    assert torch.equal(blended_BCHW[..., :8], original_BCHW[..., :8])
    weight_W = blend(torch.zeros(1, 1, 24, 24), torch.ones(1, 1, 24, 24), mask_BHW[:1], 4)[0, 0, 5]
    rise_W = weight_W.diff()
    assert (rise_W >= 0).all()
    assert rise_W.max() <= 1 / 5 + 1e-6


def test_blend_generates_even_the_thinnest_mask() -> None:
    mask_BHW = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask_BHW[0, 4, 4] = True
    blended_BCHW = blend(torch.zeros(1, 3, 9, 9), torch.ones(1, 3, 9, 9), mask_BHW, feather=4)
    assert blended_BCHW[0, :, 4, 4].tolist() == [1, 1, 1]


def test_blend_without_feather_is_a_hard_edge() -> None:
    mask_BHW = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    blended_BCHW = blend(torch.zeros(1, 3, 6, 6), torch.ones(1, 3, 6, 6), mask_BHW, feather=0)
    assert torch.equal(blended_BCHW[:, 0].bool(), mask_BHW)


def test_blend_of_other_sizes_states_both() -> None:
    image_BCHW = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="the mask is 8 x 6 pixels, the image 8 x 8"):
        blend(image_BCHW, image_BCHW, torch.ones(1, 8, 6).bool(), 2)
    with pytest.raises(ValueError, match="the generated image is 4 x 8 pixels, the image 8 x 8"):
        blend(image_BCHW, image_BCHW[:, :, :4], torch.ones(1, 8, 8).bool(), 2)
    with pytest.raises(ValueError, match="feather"):
        blend(image_BCHW, image_BCHW, torch.ones(1, 8, 8).bool(), -1)

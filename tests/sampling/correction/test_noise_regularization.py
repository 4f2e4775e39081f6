from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demask import rng
from demask.sampling.correction import NoiseRegularization, parse_correction
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.stepper import Stepper
from demask.types import Condition, DecodeState, Prediction, TokenLayout


def at(
    index: int, steps: int, seeds: list[int], rows_BL: torch.Tensor
) -> tuple[DecodeState, Stepper]:
    state = blank(len(seeds), TokenLayout((4, 4)), mask_id=99).state(steps)
    state = replace(state, step=replace(state.step, index=index, rows_BL=rows_BL))
    stepper = Stepper(
        lambda ids_BL, condition, step: Prediction(torch.zeros(1)),
        Condition({}),
        rng.image_generators(seeds),
        Sampler(),
        torch.zeros(1),
    )
    return state, stepper


def test_noise_has_the_published_size_and_only_where_it_is_read() -> None:
    rows_BL = torch.zeros(2, 16, dtype=torch.bool)
    rows_BL[0, :9] = True
    logits_BLV = torch.zeros(2, 16, 500)
    noisy_BLV = NoiseRegularization().adjust(logits_BLV, *at(0, 8, [1, 2], rows_BL))
    assert noisy_BLV[rows_BL].std().item() == pytest.approx(2.0, rel=0.03)
    assert (noisy_BLV[~rows_BL] == 0).all()
    assert (logits_BLV == 0).all()


@pytest.mark.parametrize(("index", "sigma"), [(0, 1.0), (1, 0.5), (3, 1.0)])
def test_strength_scales_sigma(index: int, sigma: float) -> None:
    state, _ = at(index, 4, [1], torch.ones(1, 16).bool())
    assert NoiseRegularization(0.5).sigma(state.step) == pytest.approx(sigma)


def test_one_step_has_a_sigma() -> None:
    state, _ = at(0, 1, [1], torch.ones(1, 16).bool())
    assert NoiseRegularization().sigma(state.step) == 2.0


def test_noise_is_the_images_own() -> None:
    rows_BL = torch.zeros(2, 16, dtype=torch.bool)
    rows_BL[0, :3], rows_BL[1, 5:] = True, True
    logits_BLV = torch.zeros(2, 16, 7)
    both = NoiseRegularization().adjust(logits_BLV, *at(0, 4, [1, 2], rows_BL))
    alone = NoiseRegularization().adjust(logits_BLV[1:], *at(0, 4, [2], rows_BL[1:]))
    assert torch.equal(both[1:], alone)


def test_strength_zero_draws_nothing_and_changes_nothing() -> None:
    state, stepper = at(0, 4, [5], torch.ones(1, 16).bool())
    previous = stepper.generators[0].get_state()
    logits_BLV = torch.zeros(1, 16, 3)
    assert NoiseRegularization(0).adjust(logits_BLV, state, stepper) is logits_BLV
    assert torch.equal(stepper.generators[0].get_state(), previous)


def test_parse_and_bad_strength() -> None:
    assert parse_correction("noise_regularization:strength=0.5") == NoiseRegularization(0.5)
    with pytest.raises(ValueError, match="Valid: strength"):
        parse_correction("noise_regularization:sigma=1")
    with pytest.raises(ValueError, match="0 \\(off\\) or more"):
        NoiseRegularization(-1)

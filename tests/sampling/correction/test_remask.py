from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from demask import rng
from demask.sampling.correction import Remask
from demask.sampling.decode import decode
from demask.sampling.edit import blank, keep
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.types import Condition, DecodeState, Prediction, TokenLayout

CODES = MASK = 4
PICTURES = 400


class Model:
    """Likes code 0 in the left half and nothing more than anything else in the right one."""

    def __init__(self) -> None:
        self.hidden: list[float] = []

    def __call__(self, ids_BL, condition, step) -> Prediction:
        self.hidden.append((ids_BL == MASK).double().sum(-1).mean().item())
        logits_BLV = torch.zeros(*ids_BL.shape, CODES)
        logits_BLV[:, : ids_BL.shape[1] // 2, 0] = 5.0
        return Prediction(logits_BLV)


def generate(correction: Remask, canvas=None, steps: int = 4, model=None) -> list[DecodeState]:
    canvas = canvas or blank(PICTURES, TokenLayout((4, 4)), MASK)
    sampler = Sampler(steps, linear, corrections=(correction,))
    generators = rng.image_generators(range(len(canvas.ids_BL)))
    return list(decode(model or Model(), Condition({}), canvas, generators, sampler))


def num_masked(states: list[DecodeState]) -> list[float]:
    return [state.masked_BL.double().sum(-1).mean().item() for state in states]


def test_sigma_is_capped_by_what_the_next_step_leaves_masked() -> None:
    """Linear, 4 steps of 16: after each, 4, 8, 12 are decided; the next leaves 8, 4, 0 masked."""
    states = generate(Remask(0.25))
    # sigma = min(eta, min(1, 8/4)), min(eta, 4/8), min(eta, 0/12)
    assert num_masked(states) == pytest.approx([12 + 4 * 0.25, 8 + 8 * 0.25, 4, 0], abs=0.2)
    strong = num_masked(generate(Remask(1.0)))
    assert strong == pytest.approx([12 + 4, 8 + 8 * 0.5, 4, 0], abs=0.2)


def test_rescaled_sigma_is_a_fraction_of_the_most() -> None:
    states = generate(Remask(0.5, rescale=True))
    assert num_masked(states) == pytest.approx([12 + 4 * 0.5, 8 + 8 * 0.5 * 0.5, 4, 0], abs=0.2)


def test_the_schedule_is_kept_and_the_model_is_asked_about_what_is_masked_again() -> None:
    model = Model()
    states = generate(Remask(0.25), model=model)
    assert model.hidden[0] == 16
    assert model.hidden[1:] == num_masked(states)[:-1]
    for previous, after in pairwise(states):
        assert not (after.unmasked_now_BL & ~previous.masked_BL).any()
    assert not states[-1].masked_BL.any()


def test_the_improbable_go_first_and_as_many_in_all() -> None:
    found = [
        generate(Remask(0.5, confidence_based=confidence_based), steps=8)[2].masked_BL
        for confidence_based in (False, True)
    ]
    sums = [masked_BL.double().sum(-1).mean().item() for masked_BL in found]
    assert sums[0] == pytest.approx(sums[1], abs=0.3)
    right = [masked_BL[:, 8:].double().mean() for masked_BL in found]
    assert right[1] > right[0] + 0.02


def test_it_can_start_late() -> None:
    states = generate(Remask(1.0, start=0.3))
    assert (states[0].masked_BL.sum(-1) == 12).all()
    assert states[1].masked_BL.sum() > PICTURES * 8


def test_known_tokens_stay_visible() -> None:
    ids_BHW = torch.full((40, 4, 4), MASK)
    ids_BHW[:, :2] = 1
    canvas = keep(ids_BHW, ids_BHW != MASK, MASK)
    states = generate(Remask(1.0), canvas)
    assert states[0].masked_BL.sum() > 40 * 6
    assert not any(state.masked_BL[:, :8].any() for state in states)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "0 \\(off\\) or more"),
        ({"strength": 2.0, "rescale": True}, "rescaled strength is at most 1"),
        ({"start": 1.5}, "the start is from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Remask(**options)

from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.sampling.correction import Informed
from demask.sampling.decode import decode
from demask.sampling.edit import blank, keep
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.types import Condition, DecodeState, Prediction, Step, TokenLayout

CODES = MASK = 3
TOKENS, PICTURES = 8, 200


class Regrets:
    """Draws anything for masked tokens; of visible ones it is sure that they should be 2."""

    def __init__(self) -> None:
        self.asked: list[tuple[torch.Tensor, Step]] = []

    def __call__(self, ids_BL, condition, step) -> Prediction:
        self.asked.append((ids_BL, step))
        sure_BLV = torch.tensor([0.0, 0.0, 30.0]).expand(*ids_BL.shape, CODES)
        return Prediction(torch.where((ids_BL == MASK)[..., None], 0.0, sure_BLV))


def generate(correction, model=None, canvas=None, steps=4, **choices) -> list[DecodeState]:
    canvas = canvas or blank(PICTURES, TokenLayout((2, 4)), MASK)
    sampler = Sampler(steps, linear, corrections=(correction,), **choices)
    generators = rng.image_generators(range(len(canvas.ids_BL)))
    return list(decode(model or Regrets(), Condition({}), canvas, generators, sampler))


def test_the_least_likely_tokens_are_drawn_anew() -> None:
    states = generate(Informed(0.5, tau=0.0))
    for state in states:
        decoded_B = (~state.masked_BL).sum(-1)
        wrong_B = ((state.ids_BL != 2) & ~state.masked_BL).sum(-1)
        assert (wrong_B <= decoded_B / 2).all()
    assert (states[-1].ids_BL == 2).double().mean() > 0.9
    plain = generate(Informed(0.0))[-1].ids_BL
    assert (plain == 2).double().mean() == pytest.approx(1 / 3, abs=0.05)


def test_chance_picks_others_too() -> None:
    likely = [
        (generate(Informed(0.25, tau=tau, start=0.9))[-1].ids_BL == 2).double().mean()
        for tau in (0.0, 1000.0)
    ]
    # two of eight mended; or two of any
    assert likely[0] == pytest.approx(1 / 3 + 2 / 8, abs=0.05)
    assert likely[1] == pytest.approx(1 / 3 + 2 / 8 * 2 / 3, abs=0.05)


def test_it_costs_a_forward_a_step_that_sees_what_was_decided() -> None:
    model = Regrets()
    states = generate(Informed(0.5), model)
    assert len(model.asked) == 8
    for k, state in enumerate(states):
        ids_BL, step = model.asked[2 * k + 1]
        assert step.index == k
        assert step.mask_ratio_B.tolist() == [1 - (k + 1) / 4] * PICTURES
        assert torch.equal(step.rows_BL, ids_BL != MASK)
        assert torch.equal(state.masked_BL, ids_BL == MASK)


def test_riding_costs_nothing_and_judges_older_tokens_alone() -> None:
    model = Regrets()
    states = generate(Informed(1.0, reuse_forward=True), model)
    assert len(model.asked) == 4
    assert all(bool(step.rows_BL.all()) for _, step in model.asked)
    assert torch.equal(states[1].ids_BL[states[0].unmasked_now_BL], torch.full((2 * PICTURES,), 2))
    last = states[-1]
    assert (last.ids_BL[~last.unmasked_now_BL] == 2).all()
    assert not (last.ids_BL[last.unmasked_now_BL] == 2).all()


def test_known_tokens_stay() -> None:
    ids_BHW = torch.full((20, 2, 4), MASK)
    ids_BHW[:, 0] = 1
    canvas = keep(ids_BHW, ids_BHW != MASK, MASK)
    for state in generate(Informed(1.0), canvas=canvas):
        assert (state.ids_BL[:, :4] == 1).all()


def test_a_new_draw_obeys_the_filter() -> None:
    class Flat(Regrets):
        def __call__(self, ids_BL, condition, step) -> Prediction:
            return Prediction(torch.tensor([1.0, 0.9, 0.0]).expand(*ids_BL.shape, CODES))

    states = generate(Informed(1.0), Flat(), filter=Filter(top_k=2))
    assert states[-1].ids_BL.max() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.1}, "from 0 \\(off\\) to 1"),
        ({"tau": -1.0}, "tau is 0 or more"),
        ({"start": -0.5}, "the start is from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Informed(**options)

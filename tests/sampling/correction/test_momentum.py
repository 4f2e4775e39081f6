from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from demask import rng
from demask.sampling.correction import Momentum, NoiseRegularization, Remask, parse_correction
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.types import Condition, DecodeState, Prediction, TokenLayout

CODES = MASK = 5
SEEDS = [1, 2, 3]


def predict(ids_BL, condition, step) -> Prediction:
    """Other logits in every step; what is visible gets some of its own."""
    generator = torch.Generator().manual_seed(step.index)
    logits_LV = torch.randn(ids_BL.shape[1], CODES, generator=generator, dtype=torch.float64)
    return Prediction(logits_LV + 5.0 * (ids_BL != MASK)[..., None])


def generate(*corrections, model=predict) -> list[DecodeState]:
    sampler = Sampler(4, linear, corrections=corrections)
    generators = rng.image_generators(SEEDS)
    return list(
        decode(model, Condition({}), blank(3, TokenLayout((4, 4)), MASK), generators, sampler)
    )


def test_masked_tokens_carry_on_and_the_others_stay() -> None:
    states = generate(Momentum(0.5))
    assert torch.equal(states[0].logits_BLV, states[0].guided_BLV)
    for previous, state in pairwise(states):
        now_BLV, past_BLV = state.guided_BLV, previous.guided_BLV
        carried_BLV = now_BLV + 0.5 * (now_BLV - past_BLV)
        wanted_BLV = torch.where(state.queried_BL[..., None], carried_BLV, now_BLV)
        assert torch.allclose(state.logits_BLV, wanted_BLV)
        assert not torch.allclose(state.logits_BLV, now_BLV)


def test_an_average_forgets_exponentially() -> None:
    states = generate(Momentum(0.25, "average"))
    mean_BLV = states[0].guided_BLV
    for state in states[1:]:
        mean_BLV = 0.75 * state.guided_BLV + 0.25 * mean_BLV
        candidate_BL = state.queried_BL
        assert torch.allclose(state.logits_BLV[candidate_BL], mean_BLV[candidate_BL])
        assert torch.equal(state.logits_BLV[~candidate_BL], state.guided_BLV[~candidate_BL])


def test_tokens_that_were_visible_a_step_ago_have_no_way_to_carry_on() -> None:
    states = generate(Remask(0.5), Momentum(0.5))
    found = 0
    for previous, state in pairwise(states):
        fresh_BL = state.queried_BL & ~previous.queried_BL
        found += int(fresh_BL.sum())
        assert torch.equal(state.logits_BLV[fresh_BL], state.guided_BLV[fresh_BL])
    assert found > 0


def test_what_other_corrections_add_is_not_carried_on() -> None:
    previous, state = generate(Momentum(0.5), NoiseRegularization())[:2]
    _, clean = generate(Momentum(0.5))[:2]
    candidate_BL = state.queried_BL & clean.queried_BL
    assert torch.equal(previous.guided_BLV[candidate_BL], clean.previous.guided_BLV[candidate_BL])
    assert not torch.equal(previous.logits_BLV, previous.guided_BLV)


def test_codes_that_are_ruled_out_stay_so_and_others_become_possible() -> None:
    def picky(ids_BL, condition, step) -> Prediction:
        logits_BLV = predict(ids_BL, condition, step).logits_BLV.clone()
        logits_BLV[..., 0] = -torch.inf
        logits_BLV[..., 1 + step.index % 2] = -torch.inf
        return Prediction(logits_BLV)

    for correction in (Momentum(0.5), Momentum(0.5, "average")):
        for state in generate(correction, model=picky):
            assert not state.logits_BLV.isnan().any()
            assert torch.equal(state.logits_BLV.isfinite(), state.guided_BLV.isfinite())


def test_parse_and_mistakes() -> None:
    assert parse_correction("momentum:beta=0.2,variant=average") == Momentum(0.2, "average")
    for text, message in (
        ("beta=-1", "beta is 0 \\(off\\) or more"),
        ("beta=1,variant=average", "of an average is below 1"),
        ("variant=nesterov", "Valid: extrapolate, average"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_correction(f"momentum:{text}")

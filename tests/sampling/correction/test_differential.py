from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.sampling.correction import Differential, parse_correction
from demask.sampling.correction.differential import divergence
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.sampling.stepper import Stepper
from demask.types import Condition, DecodeState, Prediction, TokenLayout

CODES = MASK = 5
TOKENS = 8


def nothing(ids_BL, condition, step) -> Prediction:
    return Prediction(torch.zeros(*ids_BL.shape, CODES))


TEXT_GENERATOR = Stepper(nothing, Condition({}), [], Sampler(), torch.zeros(1))


def logits(seed: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, TOKENS, CODES, generator=generator)


def after(guided_BLV: Tensor, drawn_BLV: Tensor | None = None, shown: int = 0) -> DecodeState:
    """A state in which the first ``shown`` tokens are decided."""
    state = blank(len(guided_BLV), TokenLayout((2, 4)), MASK).state(4)
    ids_BL = state.ids_BL.clone()
    ids_BL[:, :shown] = 0
    drawn_BLV = guided_BLV if drawn_BLV is None else drawn_BLV
    return replace(state, ids_BL=ids_BL, guided_BLV=guided_BLV, logits_BLV=drawn_BLV)


def test_a_fraction_of_each_image_is_replaced_those_that_moved_least() -> None:
    now_BLV, past_BLV = logits(1, batch=3), logits(2, batch=3)
    now_BLV[:, 2:5] = past_BLV[:, 2:5] + 0.01 * logits(3)[:, 2:5]
    new_BLV = Differential(3 / 8).adjust(now_BLV, after(past_BLV), TEXT_GENERATOR)
    changed_BL = (new_BLV != now_BLV).any(-1)
    assert changed_BL.tolist() == [[False] * 2 + [True] * 3 + [False] * 3] * 3
    p_BLV, q_BLV = now_BLV.softmax(-1), past_BLV.softmax(-1)
    wanted_BLV = (p_BLV - q_BLV).clamp_min(1e-6)
    wanted_BLV /= wanted_BLV.sum(-1, keepdim=True)
    assert torch.allclose(new_BLV.softmax(-1)[:, 2:5], wanted_BLV[:, 2:5])


def test_all_or_the_masked_tokens_are_ranked() -> None:
    past_BLV = logits(2)
    now_BLV = past_BLV + 0.01 * logits(1)
    now_BLV[:, 4:] = logits(4)[:, 4:]
    state = after(past_BLV, shown=4)

    def replaced(among: str) -> list[bool]:
        new_BLV = Differential(0.5, among=among).adjust(now_BLV, state, TEXT_GENERATOR)
        return (new_BLV != now_BLV).any(-1)[0].tolist()

    assert replaced("all") == [True] * 4 + [False] * 4
    num_masked = replaced("masked")
    assert num_masked[:4] == [False] * 4
    assert sum(num_masked) == 2


def test_the_step_before_is_the_model_s_or_what_was_drawn_from() -> None:
    now_BLV, model_BLV, drawn_BLV = logits(1), logits(2), logits(3)
    state = after(model_BLV, drawn_BLV)
    for previous, past_BLV in (("model", model_BLV), ("modified", drawn_BLV)):
        found_BLV = Differential(1.0, previous).adjust(now_BLV, state, TEXT_GENERATOR)
        alone_BLV = Differential(1.0).adjust(now_BLV, after(past_BLV), TEXT_GENERATOR)
        assert torch.equal(found_BLV, alone_BLV)


def test_the_first_step_of_every_image_has_no_step_before() -> None:
    now_BLV = logits(1)
    assert (
        Differential().adjust(now_BLV, blank(1, TokenLayout((2, 4)), MASK).state(4), TEXT_GENERATOR)
        is now_BLV
    )


def test_nothing_is_remembered_from_one_decode_to_the_next() -> None:
    correction = Differential(previous="modified")

    def generate(seed: int) -> Tensor:
        def predict(ids_BL, condition, step) -> Prediction:
            return Prediction(logits(10 * seed + step.index))

        sampler = Sampler(4, corrections=(correction,))
        canvas, generators = blank(1, TokenLayout((2, 4)), MASK), rng.image_generators([seed])
        *_, state = decode(predict, Condition({}), canvas, generators, sampler)
        return state.logits_BLV

    alone_BLV = generate(2)
    generate(1)
    assert torch.equal(generate(2), alone_BLV)


def test_what_did_not_move_at_all_is_drawn_from_anything() -> None:
    now_BLV = logits(1)
    new_BLV = Differential(1.0).adjust(now_BLV, after(now_BLV), TEXT_GENERATOR)
    assert torch.allclose(new_BLV.softmax(-1), torch.tensor(1 / CODES))


def test_codes_that_are_ruled_out() -> None:
    """By p: they add nothing. By q alone: the prediction moved endlessly far."""
    p_RV = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
    q_RV = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0]])
    expected = [0.0, torch.tensor(2.0).log().item(), torch.inf]
    assert divergence(p_RV, q_RV).tolist() == pytest.approx(expected)


def test_half_precision_stays_half_precision() -> None:
    new_BLV = Differential().adjust(logits(1).half(), after(logits(2).half()), TEXT_GENERATOR)
    assert new_BLV.dtype == torch.float16
    assert new_BLV.isfinite().all()


def test_parse_and_mistakes() -> None:
    named = parse_correction("differential:fraction=0.5,previous=modified,among=masked")
    assert named == Differential(0.5, "modified", "masked")
    for text, message in (
        ("previous=modifed", "unknown previous 'modifed'; did you mean 'modified'"),
        ("among=some", "Valid: all, masked"),
        ("fraction=1.5", "the fraction is from 0 \\(off\\) to 1"),
        ("floor=0", "the floor is between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_correction(f"differential:{text}")

"""Laws 3 and 5: given tokens never change, decided ones only where that is announced; inputs are
never modified in place, and nothing stays masked."""

from __future__ import annotations

import copy

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES
from demask.sampling.correction import CORRECTIONS, Differential, Informed, Momentum, Remask
from demask.sampling.decode import decode
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS
from demask.types import Prediction
from tiny import order_of

SEEDS = [1, 2, 3, 4, 5]
SAMPLERS = {
    **{f"schedule {n}": Sampler(steps=6, schedule=SCHEDULES[n]) for n in SCHEDULES},
    **{f"order {n}": Sampler(steps=6, order=order_of(n)) for n in ORDERS},
    **{f"correction {n}": Sampler(steps=6, corrections=(CORRECTIONS[n](),)) for n in CORRECTIONS},
    "improbable remasked": Sampler(steps=6, corrections=(Remask(0.9, confidence_based=True),)),
    "informed of its own step": Sampler(steps=6, corrections=(Informed(0.5, reuse_forward=True),)),
    "differential of masked tokens": Sampler(
        steps=6, corrections=(Differential(previous="modified", among="masked"),)
    ),
    "averaged": Sampler(steps=6, corrections=(Momentum(0.5, "average"),)),
    "all corrections": Sampler(steps=6, corrections=tuple(CORRECTIONS[n]() for n in CORRECTIONS)),
}


@pytest.fixture(params=SAMPLERS)
def sampler(request) -> Sampler:
    return SAMPLERS[request.param]


def test_given_and_decided_tokens(sampler, model, canvas, condition) -> None:
    may_remask = sampler.order.may_remask or any(c.may_remask for c in sampler.corrections)
    predict, before_BL = model(sampler), canvas.ids_BL
    for state in decode(predict, condition, canvas, rng.image_generators(SEEDS), sampler):
        assert torch.equal(state.ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
        if not may_remask:
            decoded_BL = before_BL != canvas.mask_id
            assert torch.equal(state.ids_BL[decoded_BL], before_BL[decoded_BL])
        before_BL = state.ids_BL
    assert not state.masked_BL.any()


def test_nothing_is_modified_in_place(sampler, guide, toy, canvas, condition) -> None:
    inputs = copy.deepcopy((canvas, condition))
    answers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(ids_BL, condition, step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        answers.append((prediction.logits_BLV, prediction.logits_BLV.clone()))
        answers.append((ids_BL, ids_BL.clone()))
        return prediction

    seen, guided = [], guide("classifier_free", predict, 3.0)
    for state in decode(guided, condition, canvas, rng.image_generators(SEEDS), sampler):
        seen.append((state.ids_BL, state.ids_BL.clone()))
        seen.append((state.logits_BLV, state.logits_BLV.clone()))
    assert all(torch.equal(now, then) for now, then in [*seen, *answers])
    assert torch.equal(canvas.ids_BL, inputs[0].ids_BL)
    assert torch.equal(canvas.known_BL, inputs[0].known_BL)
    assert torch.equal(condition["class_ids"], inputs[1]["class_ids"])


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidance_modifies_nothing(name, guide, toy, canvas, condition) -> None:
    inputs = copy.deepcopy((canvas, condition))
    answers = []

    def predict(ids_BL, condition, step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        answers.append((prediction.logits_BLV, prediction.logits_BLV.clone()))
        return prediction

    step = canvas.state(4).step
    guide(name, predict, 3.0)(canvas.ids_BL, condition, step)
    assert answers
    assert all(torch.equal(now, then) for now, then in answers)
    assert torch.equal(canvas.ids_BL, inputs[0].ids_BL)
    assert torch.equal(condition["class_ids"], inputs[1]["class_ids"])

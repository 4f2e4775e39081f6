"""Corrections in pairs: any two, in either order and under guidance, keep the laws."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES
from demask.sampling.correction import (
    CORRECTIONS,
    Correction,
    Differential,
    Informed,
    Momentum,
    Remask,
)
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler
from demask.types import Condition, Predict, Prediction
from tiny import order_of

SEEDS = [31, 32, 33, 34, 35]
STEPS = 5
PAIRS = list(product(CORRECTIONS, repeat=2))
READERS = [
    Differential(previous="modified", among="masked"),
    Momentum(0.5, "average"),
    Remask(0.9, confidence_based=True),
    Informed(0.5, reuse_forward=True),
]


def off(name: str) -> Correction:
    row = CORRECTIONS[name]
    return row(**{row.strength_field: 0.0})


def trace(predict: Predict, condition: Condition, canvas: Canvas, *corrections, order="confidence"):
    sampler = Sampler(STEPS, order=order_of(order), corrections=corrections)
    generators = rng.image_generators(SEEDS[: len(canvas.ids_BL)])
    return list(decode(predict, condition, canvas, generators, sampler))


@pytest.fixture
def guided(guide, toy) -> Predict:
    return guide("classifier_free", toy, 3.0)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_users_tokens_stay_and_nothing_is_left_masked(
    first, second, guided, canvas, condition
) -> None:
    states = trace(guided, condition, canvas, CORRECTIONS[first](), CORRECTIONS[second]())
    for state in states:
        assert torch.equal(state.ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
    assert not states[-1].masked_BL.any()


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_an_image_is_the_same_alone_and_in_a_batch(
    first, second, guided, canvas, condition
) -> None:
    chosen = Sampler(STEPS, corrections=(CORRECTIONS[first](), CORRECTIONS[second]()))

    def generate(index: list[int]) -> torch.Tensor:
        part = Canvas(canvas.ids_BL[index], canvas.known_BL[index], canvas.layout, canvas.mask_id)
        generators = rng.image_generators([SEEDS[i] for i in index])
        wanted = condition.take(torch.tensor(index))
        *_, state = decode(guided, wanted, part, generators, chosen)
        return state.ids_BL

    whole_BL = generate([0, 1, 2, 3, 4])
    for index in ([0], [1], [2], [3, 4], [4, 1, 0]):
        assert torch.equal(generate(index), whole_BL[index])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_one_that_is_off_leaves_the_other_as_it_is(
    first, second, guided, canvas, condition
) -> None:
    alone = trace(guided, condition, canvas, CORRECTIONS[first]())
    for pair in (
        (CORRECTIONS[first](), off(second)),
        (off(second), CORRECTIONS[first]()),
    ):
        both = trace(guided, condition, canvas, *pair)
        for one, other in zip(alone, both, strict=False):
            assert torch.equal(one.ids_BL, other.ids_BL)
            assert torch.equal(one.logits_BLV, other.logits_BLV)
        assert torch.equal(alone[-1].ids_BL, both[-1].ids_BL)


@pytest.mark.parametrize("name", GUIDANCES)
@pytest.mark.parametrize("order", ["confidence", "halton", "entropy", "critic"])
def test_all_at_once_under_any_guidance_and_order(
    name, order, guide, toy, canvas, condition
) -> None:
    rows = [row() for row in CORRECTIONS.values()]
    results = []
    for corrections in (rows, rows[::-1]):
        predict = guide(name, toy, 3.0)
        states = trace(predict, condition, canvas, *corrections, order=order)
        assert torch.equal(states[-1].ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
        assert not states[-1].masked_BL.any()
        results.append(states[-1].ids_BL)
    assert not torch.equal(*results), "the order in which they are given should matter"


@pytest.mark.parametrize("order", ["confidence", "halton", "margin", "critic"])
@pytest.mark.parametrize(
    "correction", [*(row() for row in CORRECTIONS.values()), *READERS], ids=repr
)
def test_it_says_what_it_reads(correction, order, guide, toy, canvas, condition) -> None:
    """An accelerator may leave out the other rows, now and in all later steps."""

    def lazy(ids_BL, condition, step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        read_BL1 = step.rows_BL[..., None]
        return replace(prediction, logits_BLV=prediction.logits_BLV.where(read_BL1, torch.nan))

    whole, least = (
        trace(
            guide("classifier_free", predict, 3.0),
            condition,
            canvas,
            Remask(0.5),
            correction,
            order=order,
        )
        for predict in (toy, lazy)
    )
    for one, other in zip(whole, least, strict=True):
        assert torch.equal(one.ids_BL, other.ids_BL)

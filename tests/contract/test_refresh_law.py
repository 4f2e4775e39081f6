"""Guidance that is refreshed now and then: exact at 1, the same for an image in any batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES, Refreshed
from demask.sampling.correction import CORRECTIONS, Differential
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler
from demask.sampling.select import ORDERS
from demask.types import Prediction
from tiny import order_of

SEEDS = [41, 42, 43, 44, 45]
BATCHES = [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0], [2, 0], [1, 3, 4]]
STILL = [name for name in ORDERS if not ORDERS[name].may_remask]  # type: ignore[attr-defined]


def trace(predict, condition, canvas, index, sampler):
    part = Canvas(canvas.ids_BL[index], canvas.known_BL[index], canvas.layout, canvas.mask_id)
    generators = rng.image_generators([SEEDS[i] for i in index])
    return list(decode(predict, condition.take(torch.tensor(index)), part, generators, sampler))


@pytest.mark.parametrize("name", GUIDANCES)
def test_at_one_it_is_the_guidance(name, guide, toy, canvas, condition) -> None:
    guided = guide(name, toy, 3.0)
    everyone, sampler = list(range(5)), Sampler(steps=6)
    plain, same, other = (
        trace(predict, condition, canvas, everyone, sampler)
        for predict in (guided, Refreshed(guided, 1), Refreshed(guided, 4))
    )
    for one, two in zip(plain, same, strict=True):
        assert torch.equal(one.ids_BL, two.ids_BL)
        assert torch.equal(one.logits_BLV, two.logits_BLV)
    assert torch.equal(plain[0].logits_BLV, other[0].logits_BLV)
    assert not torch.equal(plain[2].logits_BLV, other[2].logits_BLV)


@pytest.mark.parametrize("name", GUIDANCES)
@pytest.mark.parametrize("order", STILL)
def test_an_image_does_not_depend_on_its_batch(name, order, guide, toy, canvas, condition) -> None:
    sampler = Sampler(6, order=order_of(order), corrections=(Differential(),))

    def generate(index: list[int]) -> torch.Tensor:
        # made anew for every batch, as the generator does
        predict = Refreshed(guide(name, toy, 3.0), 3)
        return trace(predict, condition, canvas, index, sampler)[-1].ids_BL

    whole_BL = generate(list(range(5)))
    for index in BATCHES:
        assert torch.equal(generate(index), whole_BL[index])


@pytest.mark.parametrize("order", STILL)
def test_it_reads_no_rows_that_it_did_not_ask_for(order, guide, toy, canvas, condition) -> None:
    def lazy(ids_BL, condition, step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        if step.rows_BL is None:
            return prediction
        read_BL1 = step.rows_BL[..., None]
        return replace(prediction, logits_BLV=prediction.logits_BLV.where(read_BL1, torch.nan))

    whole, least = (
        trace(
            Refreshed(guide("classifier_free", predict, 3.0), 3),
            condition,
            canvas,
            list(range(5)),
            Sampler(6, order=order_of(order)),
        )
        for predict in (toy, lazy)
    )
    for one, other in zip(whole, least, strict=True):
        assert torch.equal(one.ids_BL, other.ids_BL)


@pytest.mark.parametrize("name", [n for n in CORRECTIONS if CORRECTIONS[n].may_remask])  # type: ignore[attr-defined]
def test_who_changes_decided_tokens_is_refused(name, guide, toy, canvas, condition) -> None:
    sampler = Sampler(6, corrections=(CORRECTIONS[name](),))
    guided = guide("classifier_free", toy, 3.0)
    with pytest.raises(ValueError, match="changes decided tokens: set guidance_refresh to 1"):
        trace(Refreshed(guided, 2), condition, canvas, [0], sampler)
    trace(Refreshed(guided, 1), condition, canvas, [0], sampler)


def test_an_order_that_masks_decided_tokens_is_refused(guide, toy, canvas, condition) -> None:
    sampler = Sampler(6, order=order_of("critic"))
    with pytest.raises(ValueError, match="critic changes decided tokens"):
        trace(Refreshed(guide("classifier_free", toy, 3.0), 2), condition, canvas, [0], sampler)

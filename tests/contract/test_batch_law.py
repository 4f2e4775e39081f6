"""Law 4: the same seed gives the same ids for any batch size and any position in the batch."""

from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES
from demask.sampling.correction import CORRECTIONS, Differential, Informed, Momentum, Remask, Zigzag
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS, Entropy, Halton
from demask.types import Condition, Predict
from tiny import order_of

SEEDS = [21, 22, 23, 24, 25]
BATCHES = [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0], [2, 0], [1, 3, 4]]
SAMPLERS = {
    **{f"schedule {n}": Sampler(steps=6, schedule=SCHEDULES[n]) for n in SCHEDULES},
    **{f"order {n}": Sampler(steps=6, order=order_of(n)) for n in ORDERS},
    **{f"correction {n}": Sampler(steps=6, corrections=(CORRECTIONS[n](),)) for n in CORRECTIONS},
    "halton without roll": Sampler(steps=6, order=Halton(roll=False)),
    "bounded entropy": Sampler(steps=6, order=Entropy(bound=2.0)),
    "rescaled remasking": Sampler(steps=6, corrections=(Remask(0.9, rescale=True),)),
    "improbable remasked": Sampler(steps=6, corrections=(Remask(0.9, confidence_based=True),)),
    "informed of its own step": Sampler(steps=6, corrections=(Informed(0.5, reuse_forward=True),)),
    "differential of masked tokens": Sampler(
        steps=6, corrections=(Differential(previous="modified", among="masked"),)
    ),
    "averaged": Sampler(steps=6, corrections=(Momentum(0.5, "average"),)),
    "half a zigzag": Sampler(steps=6, corrections=(Zigzag(0.5, scale=1.0, stop=0.7),)),
    "filtered": Sampler(steps=6, filter=Filter(top_k=4, top_p=0.9)),
}


def generate(predict: Predict, condition: Condition, canvas: Canvas, index: list[int], sampler):
    part = Canvas(canvas.ids_BL[index], canvas.known_BL[index], canvas.layout, canvas.mask_id)
    generators = rng.image_generators([SEEDS[i] for i in index])
    *_, last = decode(predict, condition.take(torch.tensor(index)), part, generators, sampler)
    return last.ids_BL


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name, model, canvas, condition) -> None:
    predict = model(SAMPLERS[name])
    whole_BL = generate(predict, condition, canvas, list(range(5)), SAMPLERS[name])
    for index in BATCHES:
        part_BL = generate(predict, condition, canvas, index, SAMPLERS[name])
        assert torch.equal(part_BL, whole_BL[index])


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidances(name, guide, toy, canvas, condition) -> None:
    predict = guide(name, toy, 3.0)
    whole_BL = generate(predict, condition, canvas, list(range(5)), Sampler(steps=6))
    for index in BATCHES:
        part_BL = generate(predict, condition, canvas, index, Sampler(steps=6))
        assert torch.equal(part_BL, whole_BL[index])


def test_the_law_can_fail(toy, canvas, condition) -> None:
    """A model that couples the images of a batch is caught."""

    def coupled(ids_BL, condition, step):
        prediction = toy(ids_BL, condition, step)
        logits_BLV = prediction.logits_BLV
        return type(prediction)(3 * logits_BLV / logits_BLV.std())

    whole_BL = generate(coupled, condition, canvas, list(range(5)), Sampler(steps=6))
    parts = [generate(coupled, condition, canvas, [i], Sampler(steps=6))[0] for i in range(5)]
    assert not torch.equal(torch.stack(parts), whole_BL)

"""Law 4: the same seed gives the same ids for any batch size and any position in the batch."""

from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler
from demask.types import Condition, Predict
from samplers import SAMPLERS

SEEDS = [21, 22, 23, 24, 25]
BATCHES = [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0], [2, 0], [1, 3, 4]]


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

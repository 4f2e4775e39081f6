"""Law 8: logits are log probabilities up to a constant for each token, which changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.guidance import GUIDANCES
from demask.sampling.decode import decode
from demask.sampling.sampler import Sampler
from demask.types import Condition, Predict, Prediction, Step
from samplers import SAMPLERS

SEEDS = [31, 32, 33, 34, 35]
RAW = {"order logit"}
"""Defined by logits that are not normalised."""


def moved(predict: Predict) -> Predict:
    """The same model with another constant for each token, class and step."""

    def add(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        prediction = predict(ids_BL, condition, step)
        place_L = torch.arange(ids_BL.shape[1], dtype=torch.float64)
        class_B1 = condition["class_ids"][:, None]
        constant_BL = 5 * torch.sin(3 * place_L + 2 * ids_BL + 1.3 * class_B1 + step.index)
        return Prediction(prediction.logits_BLV + constant_BL[..., None], prediction.features)

    return add


def ids(predict: Predict, condition, canvas, sampler: Sampler) -> list[Tensor]:
    states = decode(predict, condition, canvas, rng.image_generators(SEEDS), sampler)
    return [state.ids_BL for state in states]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in RAW])
def test_samplers(name, toy, guide, canvas, condition) -> None:
    sampler, models = SAMPLERS[name], [toy, moved(toy)]
    if any(correction.needs_guidance for correction in sampler.corrections):
        models = [guide("classifier_free", model, 3.0) for model in models]
    plain, other = (ids(model, condition, canvas, sampler) for model in models)
    assert len(plain) == len(other)
    assert all(map(torch.equal, plain, other))


@pytest.mark.parametrize("name", RAW)
def test_raw_logits_are_no_law(name, toy, canvas, condition) -> None:
    plain, other = (ids(m, condition, canvas, SAMPLERS[name]) for m in (toy, moved(toy)))
    assert not all(map(torch.equal, plain, other))


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidances(name, toy, guide, canvas, condition) -> None:
    models = [guide(name, model, 3.0) for model in (toy, moved(toy))]
    plain, other = (ids(model, condition, canvas, Sampler(steps=6)) for model in models)
    assert all(map(torch.equal, plain, other))


def test_the_law_can_fail(toy, canvas, condition) -> None:
    """Codes of one token that get other constants are other codes."""

    def bent(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        code_V = torch.arange(prediction.logits_BLV.shape[-1])
        return Prediction(prediction.logits_BLV + code_V, prediction.features)

    plain, other = (ids(model, condition, canvas, Sampler(steps=6)) for model in (toy, bent))
    assert not all(map(torch.equal, plain, other))

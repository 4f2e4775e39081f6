"""Wrapping the passes of a prediction leaves the rest of it as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from demask.guidance import Refreshed, SelfGuidance
from demask.guidance.classifier_free import ClassifierFree
from demask.guidance.passes import wrap_passes
from demask.guidance.scale import Constant
from demask.types import Condition, Guided, Predict, Prediction, Step, TokenLayout

STEP = Step(0, 4, TokenLayout((2, 2)), torch.ones(2))
CONDITION = Condition({"class_ids": torch.tensor([1, 2])})


def model(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
    logits_BLV = condition["class_ids"][:, None, None] * torch.ones(len(ids_BL), 4, 3)
    return Prediction(logits_BLV, logits_BLV)


def second_pass(features_BLD: Tensor, condition: Condition, step: Step) -> Tensor:
    return 0.5 * features_BLD


CASES: dict[str, tuple[Predict, list[int]]] = {
    "no guidance": (model, [2]),
    "classifier_free": (ClassifierFree(model, CONDITION, Constant(3.0)), [4]),
    "self_guidance": (SelfGuidance(model, Constant(3.0), second_pass), [2, 2]),
    "refreshed": (Refreshed(ClassifierFree(model, CONDITION, Constant(3.0)), 2), [4]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_pass_is_wrapped_and_nothing_else(name: str) -> None:
    predict, expected = CASES[name]
    seen: list[int] = []

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(tensor: Tensor, *rest: Any) -> Any:
            seen.append(len(tensor))
            return call(tensor, *rest)

        return wrapped

    wrapped, ids_BL = wrap_passes(predict, wrap), torch.zeros(2, 4)
    found = wrapped(ids_BL, CONDITION, STEP)
    assert seen == expected
    assert torch.equal(found.logits_BLV, predict(ids_BL, CONDITION, STEP).logits_BLV)
    assert isinstance(wrapped, Guided) == isinstance(predict, Guided) == (name != "no guidance")
    assert getattr(wrapped, "every", 1) == getattr(predict, "every", 1)
    assert seen == expected, "the prediction itself is wrapped"
    if isinstance(wrapped, Guided):
        seen.clear()
        wrapped.at(2.0)(ids_BL, CONDITION, STEP)
        assert seen, "the same guidance at another scale is not wrapped"

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from demask.guidance import Constant, Interval, SelfGuidance, parse_guidance
from demask.types import Condition, Prediction, Step, TokenLayout
from provider import Offered

IDS_BL = torch.tensor([[0, 1, 2], [2, 2, 9]])
CLASSES = Condition({"class_ids": torch.tensor([3, 5])})
STEP = Step(0, 4, TokenLayout((1, 3)), torch.ones(2))
FEATURES = torch.arange(12.0).view(2, 3, 2)
LOGITS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


class Spies:
    """A model and its second pass, counted."""

    def __init__(self) -> None:
        self.forwards = self.seconds = 0

    def predict(self, ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
        self.forwards += 1
        return Prediction(LOGITS, FEATURES)

    def smoothed(self, features: torch.Tensor, condition: Condition, step: Step) -> torch.Tensor:
        self.seconds += 1
        assert torch.equal(features, FEATURES)
        assert torch.equal(condition["class_ids"], CLASSES["class_ids"])
        return LOGITS.roll(1)


def test_it_moves_away_from_the_smoothed_prediction() -> None:
    """l + w (l - l_s) with w = 1, as released, is our scale 2."""
    spies = Spies()
    guided = SelfGuidance(spies.predict, Constant(2), spies.smoothed)(IDS_BL, CLASSES, STEP)
    torch.testing.assert_close(guided.logits_BLV, LOGITS + (LOGITS - LOGITS.roll(1)))
    assert guided.features is FEATURES


def test_a_step_costs_one_pass_of_each_and_no_second_one_where_it_is_off() -> None:
    spies = Spies()
    guide = SelfGuidance(spies.predict, Interval(2, start=0.5), spies.smoothed)
    for index in range(4):
        guide(IDS_BL, CLASSES, Step(index, 4, TokenLayout((1, 3)), torch.ones(2)))
    assert (spies.forwards, spies.seconds) == (4, 2)


def offered(spies: Spies) -> Offered:
    """A provider of a self-guidance module, and of nothing else."""
    module = SimpleNamespace(smoothed_logits=lambda base, *arguments: spies.smoothed(*arguments))
    return Offered(networks={"self_guidance": module})


def test_a_guidance_asks_only_for_what_it_needs() -> None:
    spies = Spies()
    provider = offered(spies)
    guide = parse_guidance("self_guidance", spies.predict, Constant(3), provider)
    assert isinstance(guide, SelfGuidance)
    with pytest.raises(ValueError, match="no such condition"):
        parse_guidance("classifier_free", spies.predict, Constant(3), provider)


def test_a_model_cannot_be_passed_in_as_an_option() -> None:
    spies = Spies()
    provider = offered(spies)
    with pytest.raises(ValueError, match="the guidance 'self_guidance' has no options"):
        parse_guidance("self_guidance:smoothed_pass=1", spies.predict, Constant(3), provider)

"""Autoguidance's formula and cost; tests/cli/test_auxiliary.py goes from a file to an image."""

from __future__ import annotations

import torch

from demask.guidance import AutoGuidance, Constant, Interval, parse_guidance
from demask.types import Condition, Prediction, Step, TokenLayout, Transformer
from provider import Network, Offered

IDS_BL = torch.tensor([[0, 1, 2]])
CLASSES = Condition({"class_ids": torch.tensor([3])})
LOGITS = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))


def test_it_moves_away_from_the_weaker_prediction() -> None:
    asked = []

    def weaker(ids_BL, condition, step) -> Prediction:
        asked.append((ids_BL, condition))
        return Prediction(LOGITS.roll(1))

    guide = AutoGuidance(lambda *_: Prediction(LOGITS), Interval(3, start=0.5), weaker)
    for index in range(4):
        guided = guide(IDS_BL, CLASSES, Step(index, 4, TokenLayout((1, 3)), torch.ones(1)))
    torch.testing.assert_close(guided.logits_BLV, LOGITS.roll(1) + 3 * (LOGITS - LOGITS.roll(1)))
    assert asked == [(IDS_BL, CLASSES)] * 2, "told the same, and only where it is on"


def test_the_weaker_model_has_the_accelerators_of_the_model() -> None:
    """An accelerator that changes one of both would be guided away from, or towards."""

    class Doubling(Offered):
        def accelerated(self, network: Transformer) -> Transformer:
            return Network(lambda *given: Prediction(2 * network.predict(*given).logits_BLV))

    weaker = Network(lambda *_: Prediction(LOGITS.roll(1)))
    provider = Doubling(networks={"weaker": weaker})
    guide = parse_guidance("autoguidance", lambda *_: Prediction(LOGITS), Constant(0), provider)
    guided = guide(IDS_BL, CLASSES, Step(0, 4, TokenLayout((1, 3)), torch.ones(1)))
    torch.testing.assert_close(guided.logits_BLV, 2 * LOGITS.roll(1))

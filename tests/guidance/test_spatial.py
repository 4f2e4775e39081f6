from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask.guidance import Constant, Interval, Spatial, parse_guidance
from demask.guidance.blur import blur_tokens
from demask.types import Condition, Grid, Prediction, Step, TokenLayout
from provider import Offered
from tiny import tiny_tokenizer

CODES = MASK = 4
CLASSES = Condition({"class_ids": torch.tensor([3, 5])})
STEP = Step(0, 4, TokenLayout((1, 3)), torch.ones(2))
IDS_BL = torch.tensor([[0, 1, 2], [2, 2, MASK]])
HIDDEN_BL = torch.full((2, 3), MASK)
TOKENIZER = tiny_tokenizer()
OTHER = {0: 1, 1: 2, 2: 3, MASK: MASK}


def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
    return Prediction(torch.nn.functional.one_hot(ids_BL, CODES + 1).float(), ids_BL)


def blurred(ids_BL: Tensor, grid: Grid, sigma: float) -> Tensor:
    """Every visible token becomes the next code."""
    assert (grid, sigma) == ((1, 3), 1.5)
    return torch.where(ids_BL < CODES, ids_BL + 1, ids_BL)


def attended(ids_BL: Tensor, condition: Condition, step: Step) -> tuple[Prediction, Tensor]:
    return predict(ids_BL, condition, step), torch.tensor([[0.5, 1.5, 1.0], [0.0, 0.9, 2.1]])


def test_it_moves_away_from_the_prediction_on_blurred_tokens() -> None:
    guided = Spatial(predict, Constant(3), blurred, sigma=1.5)(IDS_BL, CLASSES, STEP)
    plain_BLV = predict(IDS_BL, CLASSES, STEP).logits_BLV
    reference_BLV = predict(torch.tensor([[1, 2, 3], [3, 3, MASK]]), CLASSES, STEP).logits_BLV
    assert torch.equal(guided.logits_BLV, reference_BLV + 3 * (plain_BLV - reference_BLV))
    assert guided.features is IDS_BL


def test_it_blurs_where_attention_is_high() -> None:
    guide = Spatial(predict, Constant(0), blurred, attended, sigma=1.5)
    reference_BLV = guide(IDS_BL, CLASSES, STEP).logits_BLV
    # above 1: the middle token of the first image, and a masked one
    assert reference_BLV.argmax(-1).tolist() == [[0, 2, 2], [2, 2, MASK]]
    everywhere = Spatial(predict, Constant(0), blurred, attended, sigma=1.5, threshold=None)
    assert everywhere(IDS_BL, CLASSES, STEP).logits_BLV.argmax(-1).tolist() == [
        [1, 2, 3],
        [3, 3, MASK],
    ]


def test_a_second_pass_is_made_only_where_something_is_blurred() -> None:
    calls = []

    def counted(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        calls.append(ids_BL)
        return predict(ids_BL, condition, step)

    guide = Spatial(counted, Interval(2, start=0.5), blurred, sigma=1.5)
    plain_BLV = predict(HIDDEN_BL, CLASSES, STEP).logits_BLV
    late = Step(3, 4, TokenLayout((1, 3)), torch.ones(2))
    assert torch.equal(guide(HIDDEN_BL, CLASSES, late).logits_BLV, plain_BLV)
    assert len(calls) == 1
    guide(IDS_BL, CLASSES, late)
    assert len(calls) == 3
    guide(IDS_BL, CLASSES, STEP)
    assert len(calls) == 4, "off in the first step"


def test_an_image_without_a_blurred_token_is_its_own_reference_in_any_company() -> None:
    """Though the second pass may differ: the first one may be accelerated."""
    calls = []

    def accelerated(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        calls.append(step.pass_names)
        prediction = predict(ids_BL, condition, step)
        return Prediction(prediction.logits_BLV + 0.01 * len(calls), prediction.features)

    ids_BL = torch.stack([IDS_BL[0], HIDDEN_BL[1]])
    guide = Spatial(accelerated, Constant(3), blurred, sigma=1.5)
    both_BLV = guide(ids_BL, CLASSES, STEP).logits_BLV
    assert calls == [STEP.pass_names, ()]
    calls.clear()
    alone_BLV = guide(ids_BL[1:], CLASSES.take(slice(1, 2)), STEP).logits_BLV
    assert torch.equal(both_BLV[1:], alone_BLV)


def test_its_options_are_checked_and_its_means_asked_for() -> None:
    provider = Offered(tokenizer=TOKENIZER, attention=attended)
    guide = parse_guidance("spatial:sigma=2,threshold=None", predict, Constant(2), provider)
    assert isinstance(guide, Spatial)
    assert (guide.sigma, guide.threshold, guide.predict_with_attention) == (2, None, attended)
    assert torch.equal(guide.blur(IDS_BL, (1, 3), 1.5), blur_tokens(TOKENIZER, IDS_BL, (1, 3), 1.5))
    with pytest.raises(ValueError, match="sigma is above 0, not 0"):
        parse_guidance("spatial:sigma=0", predict, Constant(2), provider)

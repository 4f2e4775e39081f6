from __future__ import annotations

import pytest
import torch

from demask.guidance import ClassifierFree, Constant, Interval
from demask.types import Condition, Prediction, Step, TokenLayout

IDS_BL = torch.tensor([[0, 1, 2], [2, 2, 9]])
CLASSES = Condition({"class_ids": torch.tensor([3, 5])})
NOTHING = Condition({"class_ids": torch.tensor([-1])})


class Spy:
    """Logits = 10 * class + id, at two codes; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, Condition, Step]] = []

    def __call__(self, ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
        self.calls.append((ids_BL, condition, step))
        value_BL = 10.0 * condition["class_ids"][:, None] + ids_BL
        return Prediction(torch.stack([value_BL, 2 * value_BL], -1), value_BL[..., None])


def step(index: int = 0) -> Step:
    rows_BL = torch.tensor([[1, 0, 1], [0, 0, 1]]).bool()
    return Step(index, 4, TokenLayout((1, 3)), torch.tensor([0.5, 0.25]), rows_BL)


def logits(classes: list[int]) -> torch.Tensor:
    return Spy()(IDS_BL, Condition({"class_ids": torch.tensor(classes)}), step()).logits_BLV


@pytest.mark.parametrize("scale", [3.0, 0.5, -1.0])
def test_it_moves_from_the_unconditional_to_the_conditional(scale: float) -> None:
    guided = ClassifierFree(Spy(), NOTHING, Constant(scale))(IDS_BL, CLASSES, step())
    conditional, reference = logits([3, 5]), logits([-1, -1])
    assert torch.equal(guided.logits_BLV, reference + scale * (conditional - reference))


def test_both_halves_are_one_pass_with_the_step_of_each_image() -> None:
    spy = Spy()
    prediction = ClassifierFree(spy, NOTHING, Constant(2.0))(IDS_BL, CLASSES, step())
    ((ids_BL, condition, asked),) = spy.calls
    assert torch.equal(ids_BL, torch.cat([IDS_BL, IDS_BL]))
    assert condition["class_ids"].tolist() == [3, 5, -1, -1]
    assert asked.mask_ratio_B.tolist() == [0.5, 0.25, 0.5, 0.25]
    assert asked.rows_BL is not None
    assert torch.equal(asked.rows_BL[2:], asked.rows_BL[:2])
    assert prediction.features is not None
    assert torch.equal(prediction.features[..., 0], logits([3, 5])[..., 0])


def test_a_step_that_reads_all_rows_stays_so() -> None:
    spy = Spy()
    everything = Step(0, 4, TokenLayout((1, 3)), torch.ones(2))
    ClassifierFree(spy, NOTHING, Constant(2.0))(IDS_BL, CLASSES, everything)
    assert spy.calls[0][2].rows_BL is None


def test_scale_one_is_one_conditional_pass() -> None:
    spy = Spy()
    guided = ClassifierFree(spy, NOTHING, Constant(1.0))(IDS_BL, CLASSES, step())
    assert torch.equal(guided.logits_BLV, logits([3, 5]))
    assert [len(ids_BL) for ids_BL, _, _ in spy.calls] == [2]


def test_scale_zero_is_one_unconditional_pass() -> None:
    spy = Spy()
    guided = ClassifierFree(spy, NOTHING, Constant(0.0))(IDS_BL, CLASSES, step())
    assert torch.equal(guided.logits_BLV, logits([-1, -1]))
    assert [len(ids_BL) for ids_BL, _, _ in spy.calls] == [2]


def test_the_scale_is_that_of_the_step() -> None:
    spy = Spy()
    guide = ClassifierFree(spy, NOTHING, Interval(2.0, start=0.5))
    for index in range(4):
        guide(IDS_BL, CLASSES, step(index))
    assert [len(ids_BL) for ids_BL, _, _ in spy.calls] == [2, 2, 4, 4]


def test_a_model_without_features_is_fine() -> None:
    guide = ClassifierFree(
        lambda ids_BL, condition, step: Prediction(torch.zeros(len(ids_BL), 3, 2)),
        NOTHING,
        Constant(2.0),
    )
    assert guide(IDS_BL, CLASSES, step()).features is None


def test_there_may_be_a_reference_for_each_image() -> None:
    references = Condition({"class_ids": torch.tensor([4, 2])})
    guided = ClassifierFree(Spy(), references, Constant(2.0))(IDS_BL, CLASSES, step())
    conditional, reference = logits([3, 5]), logits([4, 2])
    assert torch.equal(guided.logits_BLV, reference + 2 * (conditional - reference))


def test_two_passes_give_what_one_gives() -> None:
    spy = Spy()
    apart = ClassifierFree(spy, NOTHING, Constant(2.0), batched=False)(IDS_BL, CLASSES, step())
    together = ClassifierFree(Spy(), NOTHING, Constant(2.0))(IDS_BL, CLASSES, step())
    assert torch.equal(apart.logits_BLV, together.logits_BLV)
    assert torch.equal(apart.features, together.features)
    assert [len(ids_BL) for ids_BL, _, _ in spy.calls] == [2, 2]


def test_a_reference_of_another_batch_is_refused() -> None:
    references = Condition({"class_ids": torch.tensor([4, 2, 1])})
    guided = ClassifierFree(Spy(), references, Constant(2.0))
    with pytest.raises(ValueError, match="a batch of 1 or of 2, not of 3"):
        guided(IDS_BL, CLASSES, step())

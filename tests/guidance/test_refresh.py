"""Guidance that is refreshed now and then: which passes are made, and what is reused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask.guidance import (
    ClassifierFree,
    Constant,
    Interval,
    Refreshed,
    parse_guidance,
)
from demask.guidance.scale import ListedScale, Scale
from demask.settings import Settings
from demask.types import Condition, Guided, Prediction, Step, TokenLayout
from provider import Offered
from tiny import tiny_generator

CLASSES = Condition({"class_ids": torch.tensor([3, 5])})
NOTHING = Condition({"class_ids": torch.tensor([-1])})
MASK = 9
IDS_BL = torch.full((2, 3), MASK)


class Spy:
    """Logits that depend on class, ids and step; remembers how many images a pass had."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.steps: list[Step] = []

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        self.sizes.append(len(ids_BL))
        self.steps.append(step)
        own_BL = (condition["class_ids"][:, None] + 1.0) * (ids_BL + 1) * (step.index + 1)
        return Prediction(torch.stack([own_BL, own_BL.sqrt().nan_to_num(0.5)], -1), own_BL)


def at(index: int) -> Step:
    return Step(
        index, 8, TokenLayout((1, 3)), torch.full((2,), 0.5), torch.ones(2, 3, dtype=torch.bool)
    )


def refreshed(every: int, scale: Scale | None = None) -> tuple[Spy, Refreshed]:
    spy = Spy()
    return spy, Refreshed(ClassifierFree(spy, NOTHING, scale or Constant(3.0)), every)


@pytest.mark.parametrize(
    ("every", "sizes"),
    [(1, [4, 4, 4, 4, 4]), (2, [4, 2, 4, 2, 4]), (3, [4, 2, 2, 4, 2]), (9, [4, 2, 2, 2, 2])],
)
def test_both_passes_are_made_every_so_many_steps(every: int, sizes: list[int]) -> None:
    spy, guide = refreshed(every)
    for index in range(5):
        guide(IDS_BL, CLASSES, at(index))
    assert spy.sizes == sizes
    # a refresh asks for everything, since later steps read other rows
    asked = [step.rows_BL is None for step in spy.steps]
    assert asked == [size == 4 and every > 1 for size in sizes]


def test_the_difference_is_that_of_the_refresh() -> None:
    _, guide = refreshed(2)
    first = guide(IDS_BL, CLASSES, at(0))
    exact = ClassifierFree(Spy(), NOTHING, Constant(3.0))(IDS_BL, CLASSES, at(0))
    assert torch.equal(first.logits_BLV, exact.logits_BLV)
    conditional, reference = (
        Spy()(IDS_BL, told, at(0)).logits_BLV
        for told in (CLASSES, NOTHING.take(torch.zeros(2).long()))
    )
    second = guide(IDS_BL, CLASSES, at(1))
    now_BLV = Spy()(IDS_BL, CLASSES, at(1)).logits_BLV
    torch.testing.assert_close(second.logits_BLV, now_BLV + 2 * (conditional - reference))
    assert torch.equal(second.features, now_BLV[..., 0])


def test_a_token_that_has_changed_has_no_difference() -> None:
    _, guide = refreshed(9)
    guide(IDS_BL, CLASSES, at(0))
    unmasked_now_BL = IDS_BL.clone()
    unmasked_now_BL[1, 2] = 4
    for index, ids_BL in ((1, unmasked_now_BL), (2, IDS_BL)):  # masked again: it was away
        plain_BLV = Spy()(ids_BL, CLASSES, at(index)).logits_BLV
        moved_BL = (guide(ids_BL, CLASSES, at(index)).logits_BLV != plain_BLV).any(-1)
        assert moved_BL.tolist() == [[True, True, True], [True, True, False]]


def test_steps_at_scale_one_or_zero_are_as_ever() -> None:
    spy, guide = refreshed(3, Interval(2.0, start=0.3))
    for index in range(5):  # off in the first two of eight
        guide(IDS_BL, CLASSES, at(index))
    assert spy.sizes == [2, 2, 4, 2, 2]
    spy, guide = refreshed(3, ListedScale(2.0, (1, 1, -1, 1, 1, 1, 1, 1)))
    for index in range(4):
        prediction = guide(IDS_BL, CLASSES, at(index))
        if index == 2:
            none = Spy()(IDS_BL, NOTHING.take(torch.zeros(2).long()), at(2))
            assert torch.equal(prediction.logits_BLV, none.logits_BLV)
    assert spy.sizes == [4, 2, 2, 4]


def test_another_loop_begins_anew() -> None:
    spy, guide = refreshed(4)
    for index in (0, 1, 2, 0, 1):
        guide(IDS_BL, CLASSES, at(index))
    assert spy.sizes == [4, 2, 2, 4, 2]
    guide(IDS_BL[:1], CLASSES.take(slice(1)), at(2))
    assert spy.sizes[-1] == 2, "both passes of a batch of another size"


def test_it_can_be_asked_at_another_scale() -> None:
    _, guide = refreshed(3)
    assert isinstance(guide, Guided)
    assert guide.at(2.0) == ClassifierFree(guide.guidance.predict, NOTHING, Constant(2.0))


@pytest.mark.parametrize("every", [0, -2])
def test_a_refresh_out_of_range(every: int) -> None:
    with pytest.raises(ValueError, match="1 or more steps"):
        refreshed(every)
    with pytest.raises(
        ValueError, match=f"guidance_refresh must be a whole number of at least 1, not {every}"
    ):
        assert Settings(guidance_refresh=every).scale


def test_parsing() -> None:
    provider = Offered(nothing=NOTHING)
    spy = Spy()
    plain = parse_guidance("classifier_free", spy, Constant(2), provider)
    assert isinstance(plain, ClassifierFree)
    cheaper = parse_guidance("classifier_free", spy, Constant(2), provider, refresh=3)
    assert isinstance(cheaper, Refreshed)
    assert cheaper.guidance == plain
    assert cheaper.every == 3


def test_a_generator_generates_with_it() -> None:
    generator = tiny_generator()
    how = {"steps": 5, "guidance_scale": 3.0, "guidance_refresh": 3, "seed": 5}
    several = generator.generate(["dog", "cat", "ship"], **how)
    alone = generator.generate(["cat"], **{**how, "seed": 6})
    assert several[1].image.tobytes() == alone[0].image.tobytes()
    again = generator.generate(["dog", "cat", "ship"], batch_size=2, **how)
    assert [p.image.tobytes() for p in again] == [p.image.tobytes() for p in several]
    plain = generator.generate(["dog", "cat", "ship"], **{**how, "guidance_refresh": 1})
    assert any(a.image.tobytes() != b.image.tobytes() for a, b in zip(several, plain, strict=True))
    with pytest.raises(ValueError, match="remask changes decided tokens"):
        generator.generate(["dog"], corrections=("remask",), **how)

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.sampling.context import DecodeContext
from demask.sampling.correction import Correction
from demask.sampling.decode import decode
from demask.sampling.edit import blank, keep
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import linear
from demask.sampling.select import ORDERS, Confidence, Entropy, Halton, Order, SelectionInput
from demask.sampling.temperature import Temperature
from demask.types import Condition, DecodeState, Prediction, Step, TokenLayout
from tiny import order_of

LAYOUT = TokenLayout((4, 4))
CODES = 8
MASK = 10
NOBODY = Condition({})


class Model:
    """Fixed random logits; remembers the steps that it was asked at."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits_LV = torch.randn(16, CODES, generator=generator)
        self.steps: list[Step] = []

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        self.steps.append(step)
        return Prediction(self.logits_LV.expand(len(ids_BL), 16, CODES))


def generate(sampler: Sampler, seeds: tuple[int, ...] = (1, 2, 3), **parts) -> list[DecodeState]:
    canvas = parts.get("canvas", blank(len(seeds), LAYOUT, MASK))
    generators = rng.image_generators(seeds)
    return list(decode(parts.get("model", Model()), NOBODY, canvas, generators, sampler))


def num_masked(states: list[DecodeState]) -> list[list[int]]:
    return [state.masked_BL.sum(-1).tolist() for state in states]


@pytest.mark.parametrize("name", ORDERS)
def test_every_step_masks_what_the_schedule_says(name: str) -> None:
    states = generate(Sampler(steps=4, schedule=linear, order=order_of(name)))
    assert num_masked(states) == [[12] * 3, [8] * 3, [4] * 3, [0] * 3]
    assert [state.step.index for state in states] == [0, 1, 2, 3]
    assert states[-1].ids_BL.max() < CODES


def test_the_trace_says_what_each_step_did() -> None:
    model = Model()
    states = generate(Sampler(steps=4, schedule=linear), model=model)
    before_BL = torch.ones(3, 16).bool()
    for k, state in enumerate(states):
        assert torch.equal(state.unmasked_now_BL, before_BL & ~state.masked_BL)
        assert state.step.mask_ratio_B.tolist() == [1 - k / 4] * 3
        assert torch.equal(state.step.rows_BL, before_BL)
        before_BL = state.masked_BL
    assert states[0].previous is not None
    assert states[0].previous.logits_BLV is None
    assert states[2].previous is not None
    assert states[2].previous.logits_BLV is states[1].logits_BLV
    assert [step.index for step in model.steps] == [0, 1, 2, 3]


def test_an_order_of_positions_tells_the_model_which_rows_it_reads() -> None:
    states = generate(Sampler(steps=4, schedule=linear, order=Halton()))
    for state in states:
        assert torch.equal(state.step.rows_BL, state.unmasked_now_BL)
        assert state.unmasked_now_BL.sum(-1).tolist() == [4, 4, 4]


def test_temperature_zero_takes_the_likeliest_codes() -> None:
    states = generate(Sampler(steps=3, temperature=Temperature(0.0)))
    assert torch.equal(states[-1].ids_BL, Model().logits_LV.argmax(-1).expand(3, 16))


def test_temperature_and_filter_shape_the_draw() -> None:
    seeds = tuple(range(500))

    def share_of_best(**parts) -> float:
        states = generate(Sampler(steps=1, **parts), seeds)
        return (states[-1].ids_BL == Model().logits_LV.argmax(-1)).double().mean().item()

    expected = Model().logits_LV.softmax(-1).amax(-1).mean().item()
    assert share_of_best() == pytest.approx(expected, abs=0.02)
    cold = (Model().logits_LV / 0.5).softmax(-1).amax(-1).mean().item()
    assert share_of_best(temperature=Temperature(0.5)) == pytest.approx(cold, abs=0.02)
    assert share_of_best(filter=Filter(top_k=1)) == 1


def test_top_p_counts_the_probabilities_at_the_temperature() -> None:
    """At temperature 1/2 the best code alone has the 60 % that take two at temperature 1."""

    def model(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        return Prediction(torch.tensor([0.5, 0.3, 0.2]).log().expand(*ids_BL.shape, 3))

    def codes(temperature: float) -> set[int]:
        sampler = Sampler(1, temperature=Temperature(temperature), filter=Filter(top_p=0.6))
        return set(generate(sampler, tuple(range(8)), model=model)[-1].ids_BL.flatten().tolist())

    assert codes(1.0) == {0, 1}
    assert codes(0.5) == {0}


def test_an_entropy_bound_may_finish_early() -> None:
    model = Model()
    states = generate(Sampler(steps=8, order=Entropy(bound=1e9)), model=model)
    assert num_masked(states) == [[0, 0, 0]]
    assert len(model.steps) == 1


def mixed_canvas() -> tuple[Tensor, Tensor]:
    known_BHW = torch.ones(3, 4, 4, dtype=torch.bool)
    known_BHW[0] = False
    known_BHW[1, 0, :3] = False
    return torch.zeros(3, 4, 4, dtype=torch.long), known_BHW


def test_images_with_little_to_generate_finish_early_and_stay() -> None:
    states = generate(Sampler(steps=6, schedule=linear), canvas=keep(*mixed_canvas(), MASK))
    assert [h[1:] for h in num_masked(states)] == [[2, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert torch.equal(states[2].ids_BL[1:], states[-1].ids_BL[1:])
    alone = keep(*(part[1:] for part in mixed_canvas()), MASK)
    assert len(generate(Sampler(steps=6, schedule=linear), (2, 3), canvas=alone)) == 3


def test_nothing_to_generate_gives_the_image_back() -> None:
    canvas = keep(*(part[2:] for part in mixed_canvas()), MASK)
    (state,) = generate(Sampler(steps=6), (3,), canvas=canvas)
    assert torch.equal(state.ids_BL, canvas.ids_BL)


@dataclass(frozen=True)
class Doubt(Correction):
    """Hides the first decided token of each image again, except after the last step."""

    may_remask: ClassVar[bool] = True

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        if state.step.progress == 1:
            return state
        unmasked_now_BL = ~state.masked_BL & ~state.known_BL
        first_BL = unmasked_now_BL & (unmasked_now_BL.cumsum(-1) == 1)
        return replace(state, ids_BL=state.ids_BL.masked_fill(first_BL, state.mask_id))


def test_a_correction_may_hide_tokens_again_and_the_loop_catches_up() -> None:
    sampler = Sampler(steps=4, schedule=linear, corrections=(Doubt(),))
    assert num_masked(generate(sampler)) == [[13] * 3, [9] * 3, [5] * 3, [0] * 3]
    canvas = keep(*mixed_canvas(), MASK)
    states = generate(sampler, canvas=canvas)
    assert len(states) == 4
    assert torch.equal(states[-1].ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
    assert not states[-1].masked_BL.any()


def test_the_loop_does_not_end_early_where_a_token_may_still_change() -> None:
    sampler = Sampler(steps=4, schedule=linear, corrections=(Never(),))
    canvas = keep(*(part[2:] for part in mixed_canvas()), MASK)
    assert len(generate(sampler, (3,), canvas=canvas)) == 4


@dataclass(frozen=True)
class Never(Correction):
    """May revise, and does not."""

    may_remask: ClassVar[bool] = True


@dataclass(frozen=True)
class StepTwice(Correction):
    """Forgets each step but the last, and makes it again through the stepper."""

    may_remask: ClassVar[bool] = True

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        if state.step.progress == 1:
            return state
        forgotten = state.ids_BL.masked_fill(state.unmasked_now_BL, state.mask_id)
        return context.unmask(replace(state, ids_BL=forgotten), state.step)


def test_a_correction_may_call_the_step_again() -> None:
    model = Model()
    states = generate(Sampler(steps=4, schedule=linear, corrections=(StepTwice(),)), model=model)
    assert num_masked(states) == [[12] * 3, [8] * 3, [4] * 3, [0] * 3]
    assert [step.index for step in model.steps] == [0, 0, 1, 1, 2, 2, 3]


@dataclass(frozen=True)
class Shift(Correction):
    """Makes one code certain; remembers nothing, reads the step that is being made."""

    def adjust(self, logits_BLV: Tensor, state: DecodeState, context: DecodeContext) -> Tensor:
        certain_V = torch.full((CODES,), -torch.inf)
        certain_V[state.step.index] = 0
        return certain_V.expand_as(logits_BLV)


def test_a_correction_sees_the_current_step_and_its_answer_is_drawn_from() -> None:
    states = generate(Sampler(steps=4, schedule=linear, corrections=(Shift(),)))
    for k, state in enumerate(states):
        assert (state.ids_BL[state.unmasked_now_BL] == k).all()


@dataclass(frozen=True)
class Wandering(Order):
    """Keeps a run of tokens that begins elsewhere in each step: a critic without judgement."""

    stage: ClassVar[Literal["draw"]] = "draw"
    may_remask: ClassVar[bool] = True
    unbiased: ClassVar[bool] = False

    def __call__(self, selection: SelectionInput) -> Tensor:
        place_L = (torch.arange(16) - 5 * selection.step.index) % 16
        return selection.top(-place_L.double().expand(selection.candidate_BL.shape))


def test_an_order_that_revises_chooses_among_all_but_the_given() -> None:
    canvas = keep(*mixed_canvas(), MASK)
    states = generate(Sampler(steps=4, schedule=linear, order=Wandering()), canvas=canvas)
    assert num_masked(states) == [[12, 2, 0], [8, 1, 0], [4, 0, 0], [0, 0, 0]]
    shown = [(~state.masked_BL[0]).nonzero()[:, 0].tolist() for state in states[:2]]
    assert shown == [[0, 1, 2, 3], [5, 6, 7, 8, 9, 10, 11, 12]]
    for previous, after in pairwise(states):
        assert torch.equal(after.unmasked_now_BL, previous.masked_BL & ~after.masked_BL)
    assert torch.equal(states[-1].ids_BL[canvas.known_BL], canvas.ids_BL[canvas.known_BL])
    assert not states[-1].masked_BL.any()


@pytest.mark.parametrize("steps", [0, 17])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(ValueError, match="from 1 to the 16 tokens"):
        generate(Sampler(steps=steps))


def test_one_generator_an_image() -> None:
    with pytest.raises(ValueError, match="1 generators for 3 images"):
        generate(Sampler(), (1,), canvas=blank(3, LAYOUT, MASK))


def test_decoded_ids_may_be_trained_on() -> None:
    weight = torch.randn(CODES, 2, requires_grad=True)
    ids_BL = generate(Sampler(steps=2))[-1].ids_BL
    torch.nn.functional.embedding(ids_BL, weight).sum().backward()
    assert weight.grad is not None


def test_half_precision_models_are_sampled() -> None:
    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        return Prediction(Model().logits_LV.bfloat16().expand(len(ids_BL), 16, CODES))

    states = generate(Sampler(steps=4, order=Confidence()), model=predict)
    assert not states[-1].masked_BL.any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_one_line(value: float, temperature: float) -> None:
    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        logits_BLV = Model().logits_LV.expand(len(ids_BL), 16, CODES).clone()
        if step.index == 1:
            logits_BLV[0, :, 3] = value
        return Prediction(logits_BLV.half())

    sampler = Sampler(steps=4, temperature=Temperature(temperature))
    with pytest.raises(ValueError, match=r"^step 2: the logits \(float16\) are not finite$"):
        generate(sampler, model=predict)


def test_codes_may_be_excluded_by_negative_infinity() -> None:
    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        logits_BLV = Model().logits_LV.expand(len(ids_BL), 16, CODES).clone()
        logits_BLV[..., 3:] = -float("inf")
        return Prediction(logits_BLV)

    assert generate(Sampler(steps=4), model=predict)[-1].ids_BL.max() < 3

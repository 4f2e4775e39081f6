"""Transformers of a fixed grid: prefixes, positions and what hooks see of them.

Shape legend: B batch, L tokens, S sequence, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from demask.acceleration import accelerate, parse_accelerator
from demask.transformer.class_conditional import ClassConditional
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.maskgit_v1 import MaskGITV1, MaskGITV1Config
from demask.types import Condition, Step, TokenLayout

GRID = (3, 4)
LAYOUT = TokenLayout(GRID)
Make = Callable[[int], ClassConditional]


def halton(depth: int, registers: int = 2) -> ClassConditional:
    sizes = {"width": 16, "depth": depth, "heads": 3, "mlp_width": 24, "registers": registers}
    return HaltonMaskGIT(HaltonMaskGITConfig(9, 4, GRID, **sizes))


def v1(depth: int) -> ClassConditional:
    return MaskGITV1(MaskGITV1Config(9, 4, GRID, 16, depth, 2, mlp_width=24))


@pytest.fixture(params=[halton, lambda depth: halton(depth, 0), v1], ids=["halton", "bare", "v1"])
def make(request: pytest.FixtureRequest) -> Make:
    def random(depth: int) -> ClassConditional:
        torch.manual_seed(0)
        model = request.param(depth).double().eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        return model

    return random


def ids(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(10, (2, 12), generator=generator)


CONDITION = Condition({"class_ids": torch.tensor([1, 4])})


def test_a_local_pass_of_one_block_is_exact(make: Make) -> None:
    """Every token has its own position and, in version 1, its own bias."""
    model = make(1)
    fast = accelerate(model, [parse_accelerator("local_steps:9,full=1")])
    first_BL, second_BL = ids(0), ids(0)
    second_BL[0, 5], second_BL[1, [2, 11]] = 3, 9
    read_BL = torch.zeros(2, 12, dtype=torch.bool)
    read_BL[0, [1, 7]] = read_BL[1, [0, 4]] = True
    half_B = torch.full((2,), 0.5)
    fast.predict(first_BL, CONDITION, Step(0, 4, LAYOUT, half_B))
    near_BLV = fast.predict(second_BL, CONDITION, Step(1, 4, LAYOUT, half_B, read_BL)).logits_BLV
    whole_BLV = model.predict(second_BL, CONDITION, Step(1, 4, LAYOUT, half_B)).logits_BLV
    assert torch.allclose(near_BLV[read_BL], whole_BLV[read_BL])
    old_BLV = model.predict(first_BL, CONDITION, Step(0, 4, LAYOUT, half_B)).logits_BLV
    assert not torch.allclose(near_BLV[read_BL], old_BLV[read_BL])


def test_the_mask_is_in_the_vocabulary_but_not_in_a_prediction(make: Make) -> None:
    model = make(2)
    whole_BLV = model(ids(1), CONDITION["class_ids"])
    step = Step(0, 1, LAYOUT, torch.full((2,), 0.5))
    assert whole_BLV.shape == (2, 12, 10)
    drawn_BLV = model.predict(ids(1), CONDITION, step).logits_BLV
    assert torch.equal(drawn_BLV, whole_BLV[..., :9])


def test_attention_is_that_of_the_image_alone(make: Make) -> None:
    model = make(2)
    step = Step(0, 1, LAYOUT, torch.full((2,), 0.5))
    prediction, seen_BL = model.predict_with_attention(ids(1), CONDITION, step)
    assert seen_BL.shape == (2, 12)
    assert torch.allclose(seen_BL.mean(-1), torch.ones(2, dtype=torch.float64))
    assert float(seen_BL.std()) > 0
    plain = model.predict(ids(1), CONDITION, step)
    assert torch.equal(prediction.logits_BLV, plain.logits_BLV)


def test_another_number_of_tokens_is_an_error(make: Make) -> None:
    with pytest.raises(ValueError, match=r"10 tokens; this model's .* take exactly 12 \(3x4\)"):
        make(1)(ids(0)[:, :10], CONDITION["class_ids"])


def test_extra_values_change_the_prediction(make: Make) -> None:
    """Self-guidance adds inputs to the values of every block."""
    model = make(2)
    states = list(model.states(ids(0), CONDITION["class_ids"]))
    assert len(states) == 3
    assert {state.shape for state in states} == {(2, model.prefix + 12, 16)}
    extra = [torch.ones_like(state) for state in states[:-1]]
    changed = list(model.states(ids(0), CONDITION["class_ids"], extra))
    assert torch.equal(changed[0], states[0])
    assert not torch.allclose(changed[-1], states[-1])
    sizes = model.feature_selection()
    assert (sizes.width, sizes.depth, sizes.num_classes) == (16, 2, 5)


@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_the_output_matrix_can_be_applied_apart(registers: int) -> None:
    model = halton(2, registers).double().eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.4)
    assert isinstance(model, HaltonMaskGIT)
    step = Step(0, 1, LAYOUT, torch.full((2,), 0.5))
    apart_BLV = model.to_logits(model.pre_logits(ids(1), CONDITION, step))
    assert torch.allclose(apart_BLV, model.predict(ids(1), CONDITION, step).logits_BLV)

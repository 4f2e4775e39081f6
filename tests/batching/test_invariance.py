"""No change within the tolerance turns a decision that was called steady."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.batching.batched_decode import cloned
from demask.batching.fused_guidance import identity
from demask.batching.invariance import CheckedStepper, Rounding, can_share
from demask.sampling.edit import blank
from demask.sampling.schedule import num_masked_after
from demask.sampling.stepper import Stepper
from demask.settings import Settings
from demask.types import Condition, DecodeState, Prediction, Step, TokenLayout

BATCH, LAYOUT, CODES = 64, TokenLayout((4, 4)), 12
TOLERANCE = 0.01


def one_step(
    settings: Settings, logits_BLV: Tensor, seeds: list[int]
) -> tuple[Stepper, DecodeState]:
    """The first step of images whose model says what we want."""
    canvas = blank(len(seeds), LAYOUT, CODES)
    sampler = settings.sampler
    num_masked_BT = num_masked_after(sampler.schedule, sampler.steps, canvas.masked_BL.sum(-1))

    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        return Prediction(logits_BLV)

    condition = Condition({"class_ids": torch.zeros(len(seeds))})
    stepper = Stepper(predict, condition, rng.image_generators(seeds), sampler, num_masked_BT)
    return stepper, canvas.state(sampler.steps)


def moved(sure: bool, settings: Settings) -> list[bool]:
    """For the steady images, or the others: whether any of many small changes moved them."""
    torch.manual_seed(0)
    logits_BLV = 2 * torch.randn(BATCH, LAYOUT.tokens, CODES)
    seeds = list(range(BATCH))
    stepper, state = one_step(settings, logits_BLV, seeds)
    copies = [generator.get_state() for generator in stepper.generators]
    checked = CheckedStepper.of(stepper, stepper.predict, identity, lambda _logits_RV: TOLERANCE)
    after = checked.step(state, state.step)
    sure_B = checked.invariant_images(after.unmasked_now_BL, cloned(copies))
    plain, begin = one_step(settings, logits_BLV, seeds)
    assert plain.step(begin, begin.step).ids_BL.equal(after.ids_BL)
    changed_B = torch.zeros(BATCH, dtype=torch.bool)
    for _ in range(40):
        # the corners of the box, where a decision moves furthest
        signs_BLV = torch.randint(0, 2, logits_BLV.shape) * 2.0 - 1
        other, begin = one_step(settings, logits_BLV + TOLERANCE * signs_BLV, seeds)
        changed_B |= (other.step(begin, begin.step).ids_BL != after.ids_BL).any(-1)
    return changed_B[sure_B == sure].tolist()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(steps=4),
        Settings(steps=4, choice_temperature=1.0, temperature=0.7),
        Settings(steps=4, choice_temperature=0.0, temperature=0.0),
        Settings(steps=4, order="halton"),
    ],
    ids=["confidence", "tempered", "argmax", "halton"],
)
def test_what_is_invariant_stays(settings: Settings) -> None:
    stayed = moved(True, settings)
    assert len(stayed) > BATCH // 8, "nearly every image was called near a tie"
    assert not any(stayed)
    assert any(moved(False, settings)), "what was called near a tie never moved"


@pytest.mark.parametrize(
    "alone",
    [
        {"order": "margin"},
        {"top_k": 3},
        {"top_p": 0.9},
        {"corrections": ("remask",)},
        {"accelerators": ("token_merging:0.25",)},
        {"guidance_scale": 2.0, "guidance_method": "spatial"},
    ],
)
def test_what_is_not_understood_is_generated_alone(alone: dict[str, object]) -> None:
    assert can_share(Settings())
    assert not can_share(replace(Settings(), **alone))


def test_the_tolerance_follows_what_was_measured_and_the_guidance() -> None:
    step = Step(0, 4, LAYOUT, torch.ones(1))
    ids_BL = torch.zeros(1, 16, dtype=torch.long)
    known_BL = torch.zeros(1, 16, dtype=torch.bool)
    logits_BLV = torch.ones(1, 16, CODES)
    alone = DecodeState(step, ids_BL, known_BL, known_BL, CODES, logits_BLV)
    rounding = Rounding()
    rounding.measure(logits_BLV[0] + 3e-3, alone, scale=2.0)
    assert rounding.seen == pytest.approx(1e-3, rel=1e-3)
    assert rounding.tolerance(1.0, logits_BLV) == pytest.approx(8e-3, rel=1e-3)
    assert rounding.tolerance(4.0, logits_BLV) == pytest.approx(56e-3, rel=1e-3)
    assert Rounding().tolerance(1.0, logits_BLV) > 0

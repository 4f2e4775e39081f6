"""No change within the tolerance turns a decision that was called steady."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import Painter
from demask.sampling.edit import blank
from demask.sampling.schedule import hidden_after
from demask.server.early import same
from demask.server.steady import Careful, Rounding, can_share
from demask.server.together import cloned
from demask.settings import Settings
from demask.types import Condition, DecodeState, Prediction, Step

BATCH, GRID, CODES = 64, (4, 4), 12
TOLERANCE = 0.01


def advance(
    settings: Settings, logits_BLV: Tensor, seeds: list[int]
) -> tuple[Painter, DecodeState]:
    """The first step of pictures whose model says what we want."""
    canvas = blank(len(seeds), GRID, CODES)
    sampler = settings.sampler
    hidden_BT = hidden_after(sampler.schedule, sampler.steps, canvas.hidden_BL.sum(-1))

    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        return Prediction(logits_BLV)

    condition = Condition({"class_ids": torch.zeros(len(seeds))})
    painter = Painter(predict, condition, rng.image_generators(seeds), sampler, hidden_BT)
    return painter, canvas.state(sampler.steps)


def moved(sure: bool, settings: Settings) -> list[bool]:
    """For the steady pictures, or the others: whether any of many small changes moved them."""
    torch.manual_seed(0)
    logits_BLV = 2 * torch.randn(BATCH, GRID[0] * GRID[1], CODES)
    seeds = list(range(BATCH))
    painter, state = advance(settings, logits_BLV, seeds)
    copies = [generator.get_state() for generator in painter.generators]
    careful = Careful.of(painter, painter.predict, same, lambda _logits_RV: TOLERANCE)
    after = careful.advance(state, state.step)
    sure_B = careful.steady(after.decided_BL, cloned(copies))
    plain, begin = advance(settings, logits_BLV, seeds)
    assert plain.advance(begin, begin.step).ids_BL.equal(after.ids_BL)
    changed_B = torch.zeros(BATCH, dtype=torch.bool)
    for _ in range(40):
        # the corners of the box, where a decision moves furthest
        signs_BLV = torch.randint(0, 2, logits_BLV.shape) * 2.0 - 1
        other, begin = advance(settings, logits_BLV + TOLERANCE * signs_BLV, seeds)
        changed_B |= (other.advance(begin, begin.step).ids_BL != after.ids_BL).any(-1)
    return changed_B[sure_B == sure].tolist()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(steps=4),
        Settings(steps=4, noise=1.0, temperature=0.7),
        Settings(steps=4, noise=0.0, temperature=0.0),
        Settings(steps=4, order="halton"),
    ],
    ids=["confidence", "tempered", "argmax", "halton"],
)
def test_what_is_steady_stays(settings: Settings) -> None:
    stayed = moved(True, settings)
    assert len(stayed) > BATCH // 8, "nearly every picture was called near a tie"
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
        {"guidance": 2.0, "guidance_method": "spatial"},
    ],
)
def test_what_is_not_understood_is_painted_alone(alone: dict[str, object]) -> None:
    assert can_share(Settings())
    assert not can_share(replace(Settings(), **alone))


def test_the_tolerance_follows_what_was_measured_and_the_guidance() -> None:
    step = Step(0, 4, GRID, torch.ones(1))
    ids_BL = torch.zeros(1, 16, dtype=torch.long)
    given_BL = torch.zeros(1, 16, dtype=torch.bool)
    logits_BLV = torch.ones(1, 16, CODES)
    alone = DecodeState(step, ids_BL, given_BL, given_BL, CODES, logits_BLV)
    rounding = Rounding()
    rounding.measure(logits_BLV[0] + 3e-3, alone, scale=2.0)
    assert rounding.seen == pytest.approx(1e-3, rel=1e-3)
    assert rounding.tolerance(1.0, logits_BLV) == pytest.approx(8e-3, rel=1e-3)
    assert rounding.tolerance(4.0, logits_BLV) == pytest.approx(56e-3, rel=1e-3)
    assert Rounding().tolerance(1.0, logits_BLV) > 0

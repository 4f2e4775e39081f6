"""Law 2: guidance at scale 1 and corrections at strength 0 are the exact identity."""

from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.guidance import GUIDANCES, SCALES
from demask.guidance.scale import parse_scale
from demask.sampling.correction import CORRECTIONS
from demask.sampling.decode import decode
from demask.sampling.sampler import Sampler
from demask.sampling.temperature import Temperature
from demask.types import Step, TokenLayout

SEEDS = [11, 12, 13, 14, 15]


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidance_at_scale_one(name, guide, toy, canvas, condition) -> None:
    for index in range(4):
        step = Step(index, 4, canvas.layout, canvas.masked_BL.double().mean(-1))
        plain = toy(canvas.ids_BL, condition, step)
        guided = guide(name, toy, 1.0)(canvas.ids_BL, condition, step)
        assert torch.equal(guided.logits_BLV, plain.logits_BLV)
        stronger = guide(name, toy, 2.0)(canvas.ids_BL, condition, step)
        assert not torch.equal(stronger.logits_BLV, plain.logits_BLV)


@pytest.mark.parametrize("name", [*SCALES, "listed:0,.5,1,2,3,2,1,-1,0"])
def test_every_scale_schedule_is_off_at_one(name) -> None:
    scale = parse_scale(name, 1.0)
    assert all(scale(Step(k, 9, TokenLayout((2, 2)), torch.ones(1))) == 1.0 for k in range(9))


@pytest.mark.parametrize("name", CORRECTIONS)
def test_correction_at_strength_zero(name, guide, toy, canvas, condition) -> None:
    predict, row = guide("classifier_free", toy, 2.0), CORRECTIONS[name]

    def trace(*corrections):
        # warm: a toy that is sure of itself would draw the same whatever is corrected
        sampler = Sampler(6, temperature=Temperature(3.0), corrections=corrections)
        return list(decode(predict, condition, canvas, rng.image_generators(SEEDS), sampler))

    plain, off = trace(), trace(row(**{row.strength_field: 0.0}))
    assert len(plain) <= len(off)
    for before, after in zip(plain, off, strict=False):
        assert torch.equal(before.ids_BL, after.ids_BL)
        assert torch.equal(before.logits_BLV, after.logits_BLV)
    assert torch.equal(plain[-1].ids_BL, off[-1].ids_BL)
    on = trace(row(**{row.strength_field: 1.0}))
    assert not torch.equal(plain[-1].ids_BL, on[-1].ids_BL)

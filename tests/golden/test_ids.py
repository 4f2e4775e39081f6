"""The ids that every variant generates, written down: a refactor leaves them as they are.

After a change that is meant to regenerate other images, write them and say why in the commit:

    DEMASK_WRITE_GOLDEN=1 python -m pytest tests/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from demask import rng
from demask.guidance.classifier_free import ClassifierFree
from demask.guidance.refresh import Refreshed
from demask.guidance.scale import Ramp
from demask.sampling.correction import CORRECTIONS
from demask.sampling.decode import decode, last
from demask.sampling.edit import blank, keep
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS
from demask.sampling.temperature import DECAYS, Temperature
from demask.types import Condition, Prediction, Step, TokenLayout
from tiny import order_of

FILE = Path(__file__).parent / "ids.json"
GRID, CODES = (3, 4), 7
MASK = CODES

SAMPLERS = {
    **{f"schedule {name}": Sampler(5, schedule=row) for name, row in SCHEDULES.items()},
    **{f"order {name}": Sampler(5, order=order_of(name)) for name in ORDERS},
    **{f"decay {name}": Sampler(5, temperature=Temperature(1.5, name)) for name in DECAYS},
    **{f"correction {name}": Sampler(5, corrections=(row(),)) for name, row in CORRECTIONS.items()},
    "filter": Sampler(5, filter=Filter(top_k=4, top_p=0.8)),
}


def predict(ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
    """A model made of arithmetic alone: every token sees all others and the class."""
    position_L = torch.arange(ids_BL.shape[1], dtype=torch.float64)
    code_V = torch.arange(CODES, dtype=torch.float64)
    near_LL = torch.cos(position_L[:, None] - 1.7 * position_L)
    context_BL = torch.sin(1.0 + ids_BL.double()) @ near_LL.T
    phase_BL = context_BL + condition["class_ids"].double()[:, None] + 0.3 * position_L
    return Prediction(2 * torch.sin(phase_BL[..., None] * (1 + code_V) + code_V**2))


def generate(
    sampler: Sampler, *, guided: bool = False, given: bool = False, refresh: int = 1
) -> list[list[int]]:
    """Three images, of the seeds 0, 1 and 2."""
    condition = Condition({"class_ids": torch.tensor([0, 1, 2])})
    canvas = blank(3, TokenLayout(GRID), MASK)
    if given:
        ids_BHW = torch.arange(36).view(3, *GRID) % CODES
        canvas = keep(ids_BHW, ids_BHW % 3 == 0, MASK)
    nothing = Condition({"class_ids": torch.tensor([3])})
    guide = ClassifierFree(predict, nothing, Ramp(2.5))
    model = Refreshed(guide, refresh) if guided else predict
    state = last(decode(model, condition, canvas, rng.image_generators(range(3)), sampler))
    ids: list[list[int]] = state.ids_BL.tolist()
    return ids


CASES = {
    **{
        name: (sampler, {"guided": any(c.needs_guidance for c in sampler.corrections)})
        for name, sampler in SAMPLERS.items()
    },
    "classifier-free": (Sampler(5), {"guided": True}),
    "classifier-free, refreshed": (Sampler(5), {"guided": True, "refresh": 2}),
    "inpainting": (Sampler(4), {"given": True}),
}


@pytest.fixture(scope="module")
def written() -> dict[str, list[list[int]]]:
    if os.environ.get("DEMASK_WRITE_GOLDEN"):
        generated = {name: generate(sampler, **how) for name, (sampler, how) in CASES.items()}
        lines = ",\n".join(f" {json.dumps(n)}: {json.dumps(ids)}" for n, ids in generated.items())
        FILE.write_text("{\n" + lines + "\n}\n")
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("name", CASES)
def test_the_same_ids_as_ever(name: str, written: dict[str, list[list[int]]]) -> None:
    sampler, how = CASES[name]
    assert generate(sampler, **how) == written[name]


def test_nothing_else_is_written_down(written: dict[str, list[list[int]]]) -> None:
    assert set(written) == set(CASES)

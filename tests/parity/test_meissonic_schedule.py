"""The masked tokens and temperatures of the published Meissonic sampler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from demask.sampling.schedule import num_masked_after, parse_schedule
from demask.sampling.temperature import Temperature
from demask.types import Step, TokenLayout


def test_counts_and_temperatures_are_the_published_ones(golden: Path) -> None:
    case = json.loads((golden / "meissonic" / "schedule.json").read_text())
    steps, start_B = case["steps"], torch.tensor([case["tokens"]])

    counts_BT = num_masked_after(parse_schedule(case["schedule"]), steps, start_B)

    assert counts_BT.tolist() == [case["masked_after_step"]]
    temperature = Temperature(case["temperatures"][0], "endpoints")
    ours = [
        temperature.at(Step(k, steps, TokenLayout((64, 64)), torch.ones(1))) for k in range(steps)
    ]
    assert ours == pytest.approx(case["temperatures"], abs=1e-6)

"""The noise levels of the published "bag of design choices" program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from demask.sampling.correction import NoiseRegularization
from demask.types import Step, TokenLayout


def test_sigma_is_the_published_one(golden: Path) -> None:
    case = json.loads((golden / "bag_of_choices" / "case.json").read_text())["noise_regularization"]
    steps = [
        Step(k, case["steps"], TokenLayout((4, 4)), torch.ones(1)) for k in range(case["steps"])
    ]
    ours = [NoiseRegularization().sigma(step) for step in steps]
    assert ours == pytest.approx(case["sigma_by_step"], abs=1e-5)

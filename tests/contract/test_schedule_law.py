"""Law 1: a mask schedule is 1 at the start, 0 at the end (within one token), and never rises."""

from __future__ import annotations

from itertools import pairwise

import pytest

from demask.sampling.published_schedules import SHAPES
from demask.sampling.schedule import PAPER_TOKENS, SCHEDULES, parse_schedule

OTHERS = ["power:0.4", "power:2.5", "ratios:0.9,0.5,0.1"]
OTHERS += [f"{name}:{shape}" for name in ("halton_confidence", "maskgit_v1") for shape in SHAPES]


@pytest.mark.parametrize("name", [*SCHEDULES, *OTHERS])
def test_it_falls_from_one_to_zero(name: str) -> None:
    gamma = parse_schedule(name)
    values = [gamma(k / 1000) for k in range(1001)]
    token = 1 / PAPER_TOKENS
    assert values[0] == pytest.approx(1, abs=token + 1e-9)
    assert values[-1] == pytest.approx(0, abs=1e-9)
    assert all(0 <= value <= 1 for value in values)
    assert all(before >= after for before, after in pairwise(values))

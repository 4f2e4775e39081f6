from __future__ import annotations

import math

import pytest
import torch

from demask.guidance import Constant, FlippedCosine, Interval, PowerCosine, Ramp
from demask.guidance.scale import ListedScale, Scale, parse_scale
from demask.types import Step, TokenLayout


def values(scale: Scale, steps: int) -> list[float]:
    return [scale(Step(k, steps, TokenLayout((2, 2)), torch.ones(1))) for k in range(steps)]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Constant(3.0), [3, 3, 3, 3]),
        (Ramp(3.0), [1.5, 2, 2.5, 3]),
        (PowerCosine(3.0, 1.0), [2 - math.sqrt(0.5), 2, 2 + math.sqrt(0.5), 3]),
        (PowerCosine(3.0), [2 - math.cos(math.pi * (k / 4) ** 3) for k in (1, 2, 3, 4)]),
        (Ramp(3.0, start=2.0), [2.25, 2.5, 2.75, 3]),
        (Ramp(3.0, delayed=True), [1, 1.5, 2, 2.5]),
        (PowerCosine(3.0, 1.0, start=2.0), [2.5 - math.sqrt(0.125), 2.5, 2.5 + 0.125**0.5, 3]),
        (PowerCosine(3.0, 1.0, delayed=True), [1, 2 - math.sqrt(0.5), 2, 2 + math.sqrt(0.5)]),
        (FlippedCosine(3.0), [1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0]),
        (FlippedCosine(3.0, start=2.0), [2 + 0.125**0.5, 2, 2 - 0.125**0.5, 1.5]),
        (Interval(3.0, 0.25, 0.75), [1, 3, 3, 1]),
        (Interval(3.0), [3, 3, 3, 3]),
        (ListedScale(3.0, (0, 0.5, 1, -0.5)), [1, 2, 3, 0]),
    ],
)
def test_scale_of_each_step(scale: Scale, expected: list[float]) -> None:
    assert values(scale, 4) == pytest.approx(expected)


@pytest.mark.parametrize(("start", "stop"), [(-0.1, 1), (0.5, 0.5), (0.7, 0.2), (0, 1.1)])
def test_intervals_are_checked(start: float, stop: float) -> None:
    with pytest.raises(ValueError, match="0 <= start < stop <= 1"):
        Interval(2.0, start, stop)


def test_the_power_is_checked() -> None:
    for scale in (PowerCosine, FlippedCosine):
        with pytest.raises(ValueError, match="positive, not 0"):
            scale(2.0, 0)


def test_parse() -> None:
    assert parse_scale("ramp", 3.0) == Ramp(3.0)
    assert parse_scale("ramp:delayed=True", 3.0) == Ramp(3.0, delayed=True)
    assert parse_scale("power_cosine:power=1,start=2", 3.0) == PowerCosine(3.0, 1.0, 2.0)
    assert parse_scale("interval:start=0.2,stop=0.9", 3.0) == Interval(3.0, 0.2, 0.9)
    with pytest.raises(
        ValueError,
        match=r"scale 'rampp'; did you mean 'ramp'.*, listed:FACTORS,\.\.\.$",
    ):
        parse_scale("rampp", 3.0)
    with pytest.raises(ValueError, match=r"unknown option .*'value'.*start, stop"):
        parse_scale("interval:value=2", 3.0)


def test_parse_a_list() -> None:
    assert parse_scale("listed:0,0.5,1", 3.0) == ListedScale(3.0, (0.0, 0.5, 1.0))
    for text in ("listed", "listed:", "listed:a", "listed:1,inf"):
        with pytest.raises(ValueError, match="write (listed:)?factors=0.9,0.5"):
            parse_scale(text, 3.0)
    with pytest.raises(ValueError, match="2 guidance factors were given for 4 steps"):
        values(parse_scale("listed:1,2", 3.0), 4)

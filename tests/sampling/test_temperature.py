from __future__ import annotations

import pytest
import torch

from demask.sampling.temperature import Temperature
from demask.types import Step, TokenLayout


def values(temperature: Temperature, steps: int) -> list[float]:
    return [
        temperature.at(Step(k, steps, TokenLayout((2, 2)), torch.ones(1))) for k in range(steps)
    ]


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [8, 8, 8, 8]),
        ("linear", [6, 4, 2, 0]),
        ("cumulative", [6, 3, 0.75, 0]),
        ("endpoints", [8, 16 / 3, 8 / 3, 0]),
        ("annealed", [8.8, 7.2, 5.6, 4]),
        ("annealed_linear", [6.6, 3.6, 1.4, 0]),
        ("power:2", [4.5, 2, 0.5, 0]),
        ("line:0.25", [8, 6, 4, 2]),
        ("line:1.75", [8, 10, 12, 14]),
        ("listed:1,0.5,0,2", [8, 4, 0, 16]),
    ],
)
def test_decays(decay: str, expected: list[float]) -> None:
    assert values(Temperature(8.0, decay), 4) == pytest.approx(expected)


def test_one_value_for_each_step() -> None:
    assert values(Temperature((2.0, 0.5)), 2) == [2.0, 0.5]
    with pytest.raises(ValueError, match="2 temperatures were given for 3 steps"):
        values(Temperature((2.0, 0.5)), 3)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), (1.0, -0.1)])
def test_bad_values_are_errors(value: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Temperature(value)


def test_an_unknown_decay_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="did you mean 'linear'.*cumulative"):
        Temperature(1.0, "linar")


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        ("linear:2", "'linear' has no options; write 'linear', not 'linear:2'"),
        ("power", "needs power: write power:power=0.5"),
        ("power:1,2", "cannot read power in 'power:1,2'; write power=0.5"),
        ("power:0", "power of a temperature decay is positive, not 0"),
        ("line:-1", "ends at 0 or above, not at -1"),
        ("listed:", "needs factors: write listed:factors=0.9,0.5"),
        ("listed:1,-1", "numbers of at least 0"),
        ("listed:1,nan", "cannot read factors in 'listed:1,nan'"),
    ],
)
def test_a_decay_that_is_none_says_what_is_valid(decay: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Temperature(1.0, decay)


def test_listed_factors_are_for_their_number_of_steps() -> None:
    with pytest.raises(ValueError, match="2 temperature factors were given for 3 steps"):
        values(Temperature(1.0, "listed:1,0.5"), 3)

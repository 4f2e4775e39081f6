from __future__ import annotations

import math

import pytest
import torch

from demask.sampling.schedule import (
    SCHEDULES,
    Power,
    Ratios,
    linear,
    num_masked_after,
    parse_schedule,
)

HALFWAY = {
    "cosine": math.sqrt(0.5),
    "linear": 0.5,
    "linear_float32": 0.5,
    "square": 0.75,
    "cubic": 0.875,
    "square_root": 1 - math.sqrt(0.5),
    "exponential": 1 - 1 / 16,
    "logarithmic": 1 / 8,
    "arccos": 2 / 3,
    "halton": 2 / 3,
    "sigmoid": 0.5,
}


def counts(name: str, steps: int, *num_masked: int) -> list[list[int]]:
    return num_masked_after(parse_schedule(name), steps, torch.tensor(num_masked)).tolist()


@pytest.mark.parametrize("name", SCHEDULES)
def test_value_halfway(name: str) -> None:
    assert SCHEDULES[name](0.5) == pytest.approx(HALFWAY[name], abs=1e-6)


def test_sigmoid_is_slow_at_both_ends() -> None:
    gamma = SCHEDULES["sigmoid"]
    assert gamma(0.1) == pytest.approx(1 - gamma(0.9))
    assert 1 - gamma(0.1) < 0.1 / 2


def test_a_third_of_the_way_before_the_end_cosine_stays_below_a_half_as_published() -> None:
    assert counts("cosine", 3, 4096) == [[3547, 2047, 0]]


@pytest.mark.parametrize("tokens", [7, 49, 60, 256, 1000])
def test_one_token_a_step_is_exact_for_linear(tokens: int) -> None:
    assert counts("linear", tokens, tokens) == [list(range(tokens - 1, -1, -1))]


@pytest.mark.parametrize("name", [*SCHEDULES, "power:0.3", "power:9"])
@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_counts_fall_in_every_step_until_nothing_is_masked(name: str, steps: int) -> None:
    for start, row in zip((16, 17, 256), counts(name, steps, 16, 17, 256), strict=True):
        assert len(row) == steps
        assert row[-1] == 0
        for previous, after in zip([start, *row], row, strict=False):
            assert after < previous or after == previous == 0


def test_images_with_few_masked_tokens_finish_early() -> None:
    assert counts("cosine", 5, 0, 1, 3) == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [2, 1, 0, 0, 0]]


def test_steep_schedules_leave_one_token_before_the_last_step() -> None:
    assert counts("power:0.1", 3, 64) == [[6, 2, 0]]
    assert counts("power:0.001", 2, 64) == [[1, 0]]


def test_counts_of_an_image_do_not_depend_on_the_others() -> None:
    both = counts("square", 6, 11, 200)
    assert both == counts("square", 6, 11) + counts("square", 6, 200)


def test_counts_are_int64_and_leave_the_input_alone() -> None:
    start_B = torch.tensor([9, 4])
    assert num_masked_after(linear, 3, start_B).dtype == torch.int64
    assert start_B.tolist() == [9, 4]


def test_no_step_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 or more, not 0"):
        num_masked_after(linear, 0, torch.tensor([4]))


AUTONAT = (0.953, 0.880, 0.794, 0.746, 0.625, 0.407, 0.261)


def test_ratios_are_hit_exactly_with_and_without_the_last() -> None:
    expected = [[math.floor(256 * ratio) for ratio in AUTONAT] + [0]]
    start_B = torch.tensor([256])
    assert num_masked_after(Ratios(AUTONAT), 8, start_B).tolist() == expected
    assert num_masked_after(Ratios((*AUTONAT, 0.0)), 8, start_B).tolist() == expected


def test_ratios_are_interpolated_for_other_numbers_of_steps() -> None:
    ratios = Ratios((0.8, 0.2, 0.0))
    assert ratios(0.0) == 1
    assert ratios(0.5) == pytest.approx(0.5)
    assert ratios(1.0) == 0


@pytest.mark.parametrize("values", [(), (0.5, 0.6), (1.2, 0.3), (0.5, -0.1), (float("nan"),)])
def test_ratios_that_make_no_schedule_are_an_error(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fall from 1 to 0"):
        Ratios(values)


@pytest.mark.parametrize("exponent", [0.0, -1.0, float("inf"), float("nan")])
def test_a_power_is_positive(exponent: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Power(exponent)


def test_parse_names_and_numbers() -> None:
    assert parse_schedule("arccos") is SCHEDULES["arccos"]
    assert parse_schedule("power:2.5") == Power(2.5)
    assert parse_schedule("power:2.5")(0.3) == pytest.approx(1 - 0.3**2.5)
    assert parse_schedule("ratios:0.9,0.5") == Ratios((0.9, 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "did you mean 'cosine'.*sigmoid.*power:EXPONENT, ratios:VALUES"),
        ("cosine:2", "'cosine' has no options; write 'cosine', not 'cosine:2'"),
        ("power", "needs exponent: write power:exponent=0.5"),
        ("power:", "needs exponent: write power:exponent=0.5"),
        ("power:2,3", "cannot read exponent in 'power:2,3'; write exponent=0.5"),
        ("ratios:a,b", "cannot read values in 'ratios:a,b'; write values=0.9,0.5"),
    ],
)
def test_parse_errors_say_what_is_valid(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)

"""Win rates: counted right, and with an interval that holds the truth as often as it says."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from demask.evaluation.win_rate import few_prompts, paired_comparison


def test_wins_ties_and_losses_are_counted() -> None:
    base_PS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    mine_PS = torch.tensor([[2.0, 2.0], [1.0, 5.0], [6.0, 6.0]])
    found = paired_comparison(mine_PS, base_PS)
    assert (found.wins, found.ties, found.losses) == (3, 2, 1)
    assert found.rate == pytest.approx((3 + 2 / 2) / 6)
    assert found.difference == pytest.approx((1 + 0 - 2 + 1 + 1 + 0) / 6)
    assert found.rate_low <= found.rate <= found.rate_high
    assert found.difference_low < found.difference < found.difference_high


def test_swapped_sides_add_up_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mine_PS, base_PS = torch.randn(2, 20, 3, generator=generator).round(decimals=1)
    there, back = paired_comparison(mine_PS, base_PS), paired_comparison(base_PS, mine_PS)
    assert there.rate + back.rate == pytest.approx(1)
    assert (there.wins, there.ties) == (back.losses, back.ties)
    assert there.difference == pytest.approx(-back.difference)


def test_the_same_is_half_of_all() -> None:
    score_PS = torch.randn(5, 2)
    found = paired_comparison(score_PS, score_PS)
    assert (found.rate, found.rate_low, found.rate_high) == (0.5, 0.5, 0.5)
    assert (found.difference_low, found.difference, found.difference_high) == (0, 0, 0)


def test_last_digits_are_a_tie() -> None:
    score_PS = torch.full((2, 2), 31.25)
    assert paired_comparison(score_PS + 4e-6, score_PS).ties == 4
    assert paired_comparison(score_PS + 0.001, score_PS).wins == 4


def test_a_difference_that_is_small_beside_the_spread_is_a_tie() -> None:
    base_PS = torch.tensor([[66.0, 70.0], [67.0, 69.0]])
    mine_PS = base_PS + torch.tensor([[0.001, -0.001], [0.1, -0.1]])
    found = paired_comparison(mine_PS, base_PS)
    assert (found.wins, found.ties, found.losses) == (1, 2, 1)
    assert found.margin == pytest.approx(0.01 * 2.5**0.5, rel=0.05)
    higher = paired_comparison(base_PS + 0.001, base_PS)
    assert (higher.ties, higher.rate) == (4, 0.5)
    assert higher.difference == pytest.approx(0.001, abs=1e-5)


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 prompt gives no interval"), (3, "3 prompts are few"), (19, "19 "), (20, "")],
)
def test_few_prompts_are_named(count: int, said: str) -> None:
    note = few_prompts(count)
    assert note.startswith(said)
    assert bool(note) == bool(said)


def test_one_prompt_has_no_interval() -> None:
    found = paired_comparison(torch.ones(1, 8), torch.zeros(1, 8))
    assert found.rate == 1
    assert math.isnan(found.rate_low)
    assert math.isnan(found.difference_high)


def test_prompts_are_drawn_with_all_their_seeds() -> None:
    """A prompt's seeds that all say the same are one witness: more of them add nothing."""
    generator = torch.Generator().manual_seed(0)
    gap_P1 = torch.randn(24, 1, generator=generator)
    one = paired_comparison(gap_P1, torch.zeros(24, 1))
    many = paired_comparison(gap_P1.expand(24, 50), torch.zeros(24, 50))
    assert (many.rate_low, many.rate_high) == pytest.approx((one.rate_low, one.rate_high))
    assert one.rate_high - one.rate_low > 0.2


def test_the_interval_of_many_prompts_is_that_of_a_normal_distribution() -> None:
    gap_P1 = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    found = paired_comparison(gap_P1, torch.zeros(400, 1), resamples=4000)
    half_width = NormalDist().inv_cdf(0.975) * float(gap_P1.std()) / math.sqrt(400)
    ends = found.difference - half_width, found.difference + half_width
    assert (found.difference_low, found.difference_high) == pytest.approx(
        ends, abs=0.07 * half_width
    )


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    rounds, held = 120, 0
    for seed in range(rounds):
        # the seeds of a prompt agree more with each other than with those of another prompt
        gap_PS = 0.3 + torch.randn(40, 1, generator=generator)
        gap_PS = gap_PS + 0.5 * torch.randn(40, 3, generator=generator)
        found = paired_comparison(gap_PS, torch.zeros(40, 3), seed, resamples=400)
        held += found.difference_low <= 0.3 <= found.difference_high
    assert 0.87 <= held / rounds <= 0.99


def test_refuses_too_few_resamples() -> None:
    with pytest.raises(ValueError, match="resamples must be at least 2, not 1"):
        paired_comparison(torch.ones(2, 1), torch.ones(2, 1), resamples=1)

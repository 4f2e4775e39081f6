from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demask.sampling.select import (
    ORDERS,
    ChooseThenSample,
    Confidence,
    Entropy,
    Halton,
    Margin,
    parse_order,
)
from demask.sampling.temperature import Temperature

FLAT_1LV = torch.full((1, 4, 2), 0.5)


def test_top_takes_the_highest_open_scores_of_each_image(make_look) -> None:
    candidate_BL = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]]).bool()
    selection = make_look(FLAT_1LV.expand(2, 4, 2), [1, 2], candidate_BL)
    score_BL = torch.tensor([[1.0, 3, 2, 9], [9, 1, 3, 2]])
    assert selection.top(score_BL).int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]


def test_top_decides_open_positions_even_at_minus_infinity(make_look) -> None:
    candidate_BL = torch.tensor([[0, 0, 1, 1]]).bool()
    score_BL = torch.full((1, 4), -torch.inf)
    assert make_look(FLAT_1LV, [2], candidate_BL).top(score_BL).int().tolist() == [[0, 0, 1, 1]]


def test_top_of_equals_goes_in_row_major_order(make_look) -> None:
    assert make_look(FLAT_1LV, [2]).top(torch.zeros(1, 4)).int().tolist() == [[1, 1, 0, 0]]


def test_top_never_takes_more_than_is_open(make_look) -> None:
    candidate_BL = torch.tensor([[0, 1, 0, 0]]).bool()
    assert make_look(FLAT_1LV, [3], candidate_BL).top(torch.zeros(1, 4)).sum() == 1


def test_noise_in_top_is_gumbel(make_look) -> None:
    """Gumbel-max: the position with score log p wins with probability p."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    selection = make_look(FLAT_1LV.expand(4000, 4, 2), [1] * 4000)
    share_L = selection.top(p.log().expand(4000, 4), choice_temperature=1.0).double().mean(0)
    torch.testing.assert_close(share_L, p.double(), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "order",
    [Confidence(Temperature(0.0)), Entropy(), Entropy(bound=1.0), Margin(), ChooseThenSample()],
    ids=lambda order: type(order).__name__,
)
def test_a_constant_added_to_a_tokens_logits_changes_no_order(make_look, order) -> None:
    """A network's logits are not log probabilities: they are known up to a constant."""
    generator = torch.Generator().manual_seed(0)
    p_BLV = torch.randn(20, 9, 4, generator=generator).softmax(-1)
    selection = make_look(p_BLV, [4] * 20)
    added_BL1 = 5 * torch.randn(20, 9, 1, generator=generator)
    moved = make_look(p_BLV, [4] * 20)
    moved = replace(moved, logits_BLV=moved.logits_BLV + added_BL1)
    assert torch.equal(order(moved), order(selection))


def test_spread_puts_rows_back(make_look) -> None:
    selection = make_look(FLAT_1LV, [1], torch.tensor([[0, 1, 0, 1]]).bool())
    assert selection.scatter(torch.tensor([5.0, 6.0]), -1).tolist() == [[-1, 5, -1, 6]]
    assert selection.logits_RV.shape == (2, 2)


def test_half_precision_predictions_are_read_in_float32(make_look) -> None:
    assert make_look(FLAT_1LV.half(), [1]).logits_RV.dtype == torch.float32
    assert make_look(FLAT_1LV.double(), [1]).logits_RV.dtype == torch.float64


@pytest.mark.parametrize("name", ORDERS)
def test_parse_knows_every_row(name: str) -> None:
    assert parse_order(name) == ORDERS[name]()


def test_parse_options_and_noise() -> None:
    assert parse_order("halton:roll=False") == Halton(roll=False)
    assert parse_order("entropy:bound=2.5") == Entropy(bound=2.5)
    choice_temperature = Temperature(2.0, "cumulative")
    assert parse_order("confidence", choice_temperature) == Confidence(choice_temperature)
    assert parse_order("halton", choice_temperature) == Halton()


def test_parse_errors_say_what_is_valid() -> None:
    with pytest.raises(ValueError, match="did you mean 'halton'"):
        parse_order("haltn")
    with pytest.raises(ValueError, match=r"selection order 'halton' 'rol'.*Valid: roll"):
        parse_order("halton:rol=1")
    with pytest.raises(
        ValueError, match="cannot read bound in 'entropy:bound=big'; write bound=0.5"
    ):
        parse_order("entropy:bound=big")

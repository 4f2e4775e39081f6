from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demask.sampling.filter import Filter

LOGITS_RV = torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.01, 0.9, 0.05, 0.04]]).log()


def kept(logits_RV: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits_RV]


def test_the_default_is_the_identity() -> None:
    assert Filter()(LOGITS_RV) is LOGITS_RV
    assert Filter(top_k=4)(LOGITS_RV) is LOGITS_RV
    assert Filter(top_k=99)(LOGITS_RV) is LOGITS_RV


@pytest.mark.parametrize(
    ("top_k", "expected"), [(1, [[0], [1]]), (3, [[0, 1, 2], [1, 2, 3]]), (2, [[0, 1, 2], [1, 2]])]
)
def test_top_k_keeps_the_likeliest_and_their_equals(top_k: int, expected: list[list[int]]) -> None:
    assert kept(Filter(top_k=top_k)(LOGITS_RV)) == expected


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.4, [[0], [1]]),
        (0.6, [[0, 1, 2], [1]]),
        (0.93, [[0, 1, 2, 3], [1, 2]]),
        (1e-9, [[0], [1]]),
    ],
)
def test_top_p_keeps_the_smallest_sufficient_set(top_p: float, expected: list[list[int]]) -> None:
    assert kept(Filter(top_p=top_p)(LOGITS_RV)) == expected


def test_top_p_counts_what_top_k_left() -> None:
    # among the best three of row 0, the first alone has 0.5 / 0.9 of the probability
    assert kept(Filter(top_k=3, top_p=0.55)(LOGITS_RV))[0] == [0]
    assert kept(Filter(top_p=0.55)(LOGITS_RV))[0] == [0, 1, 2]


def test_kept_logits_and_the_input_do_not_change() -> None:
    before_RV = LOGITS_RV.clone()
    after_RV = Filter(top_k=2, top_p=0.9)(LOGITS_RV)
    assert torch.equal(LOGITS_RV, before_RV)
    finite_RV = after_RV.isfinite()
    assert torch.equal(after_RV[finite_RV], LOGITS_RV[finite_RV])


@pytest.mark.parametrize("chosen", [Filter(top_k=1), Filter(top_p=0.01), Filter(1, 0.01)])
def test_equals_all_stay_and_something_always_does(chosen: Filter) -> None:
    assert kept(chosen(torch.zeros(2, 3))) == [[0, 1, 2]] * 2


def test_no_rows_is_fine() -> None:
    assert Filter(2, 0.5)(torch.zeros(0, 5)).shape == (0, 5)


@pytest.mark.parametrize(
    ("top_k", "top_p", "name"),
    [(-1, 1.0, "top_k"), (0, 0.0, "top_p"), (0, 1.1, "top_p"), (0, float("nan"), "top_p")],
)
def test_values_out_of_range_are_errors(top_k: int, top_p: float, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Filter(top_k, top_p)


def test_the_likeliest_stays_under_a_top_p_that_float32_rounds_to_nothing() -> None:
    assert kept(Filter(top_p=1e-320)(LOGITS_RV)) == [[0], [1]]

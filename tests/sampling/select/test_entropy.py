from __future__ import annotations

import math

import pytest
import torch

from demask.sampling.select import Entropy

# entropies: ln 4, 0, ln 2, ln 2
P_BLV = torch.tensor(
    [[[0.25, 0.25, 0.25, 0.25], [1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]]
)


def test_the_surest_go_first(make_look) -> None:
    assert Entropy()(make_look(P_BLV, [1])).int().tolist() == [[0, 1, 0, 0]]
    assert Entropy()(make_look(P_BLV, [3])).int().tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("bound", "decided"),
    [(0.0, 2), (math.log(2) - 0.01, 2), (math.log(2) + 0.01, 3), (math.log(4) + 0.01, 4)],
)
def test_a_bound_takes_the_largest_safe_prefix(make_look, bound: float, decided: int) -> None:
    """The sum of all entropies but the largest may not exceed the bound."""
    mask_BL = Entropy(bound=bound)(make_look(P_BLV, [1]))
    assert mask_BL.sum().item() == decided
    assert mask_BL[0, 1]


def test_a_bound_never_takes_less_than_the_schedule_or_what_is_not_open(make_look) -> None:
    assert Entropy(bound=0.0)(make_look(P_BLV, [3])).sum() == 3
    candidate_BL = torch.tensor([[0, 1, 0, 1]]).bool()
    assert torch.equal(Entropy(bound=99.0)(make_look(P_BLV, [1], candidate_BL)), candidate_BL)
    assert not Entropy(bound=99.0)(make_look(P_BLV, [0], ~candidate_BL & candidate_BL)).any()


def test_a_negative_bound_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 nats or more, not -1"):
        Entropy(bound=-1)

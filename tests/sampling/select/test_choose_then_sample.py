from __future__ import annotations

import pytest
import torch

from demask.sampling.select import ChooseThenSample

P_LV = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])


def test_positions_come_with_the_probability_of_their_moment(make_look) -> None:
    alpha = 0.5  # the third moment
    selection = make_look(P_LV.expand(4000, 2, 3), [1] * 4000)
    share_L = ChooseThenSample(alpha)(selection).double().mean(0)
    moment_L = P_LV.double().pow(3).sum(-1)
    torch.testing.assert_close(share_L, moment_L / moment_L.sum(), atol=0.03, rtol=0)


def test_codes_are_drawn_from_the_sharpened_distribution() -> None:
    sharp_LV = ChooseThenSample(0.5).transform_logits(P_LV.log()).softmax(-1)
    torch.testing.assert_close(sharp_LV, P_LV.pow(3) / P_LV.pow(3).sum(-1, keepdim=True))


def test_infinite_alpha_is_the_random_order(make_look) -> None:
    order = ChooseThenSample(float("inf"))
    assert torch.equal(order.transform_logits(P_LV), P_LV)
    share_L = order(make_look(P_LV.expand(4000, 2, 3), [1] * 4000)).double().mean(0)
    assert share_L[0].item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_alpha_is_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha is above 0"):
        ChooseThenSample(alpha)

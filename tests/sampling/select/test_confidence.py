from __future__ import annotations

import torch

from demask.sampling.select import Confidence
from demask.sampling.temperature import Temperature

P_BLV = torch.tensor([[[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]])


def test_without_noise_the_most_confident_draws_win(make_look) -> None:
    order = Confidence(Temperature(0.0))
    assert order(make_look(P_BLV, [1])).int().tolist() == [[0, 1, 0]]
    assert order(make_look(P_BLV, [2])).int().tolist() == [[0, 1, 1]]


def test_it_scores_the_code_that_was_drawn(make_look) -> None:
    selection = make_look(P_BLV, [1])
    selection.ids_BL[0] = torch.tensor([0, 0, 1])  # probabilities 0.6, 0.1, 0.2
    assert Confidence(Temperature(0.0))(selection).int().tolist() == [[1, 0, 0]]


def test_noise_decays_with_the_step(make_look) -> None:
    order = Confidence(Temperature(50.0, "linear"))
    many_BLV = P_BLV.expand(200, 3, 2)
    early = order(make_look(many_BLV, [1] * 200)).double().mean(0)
    last = order(make_look(many_BLV, [1] * 200, index=3)).double().mean(0)
    assert early.min() > 0.2
    assert last.tolist() == [0, 1, 0]

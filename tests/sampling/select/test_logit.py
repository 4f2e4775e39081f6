from __future__ import annotations

import torch

from demask.sampling.select import Logit
from demask.sampling.temperature import Temperature

P_BLV = torch.tensor([[[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]])


def test_large_logits_win_whatever_their_probability(make_look) -> None:
    selection = make_look(P_BLV, [1])
    assert selection.logits_BLV is not None
    selection.logits_BLV[0, 0] += 5.0  # the same probabilities
    assert Logit(Temperature(0.0))(selection).int().tolist() == [[1, 0, 0]]


def test_noise_decays_with_the_step(make_look) -> None:
    order = Logit(Temperature(50.0, "linear"))
    many_BLV = P_BLV.expand(200, 3, 2)
    early = order(make_look(many_BLV, [1] * 200)).double().mean(0)
    last = order(make_look(many_BLV, [1] * 200, index=3)).double().mean(0)
    assert early.min() > 0.2
    assert last.tolist() == [0, 1, 0]

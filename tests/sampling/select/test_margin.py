from __future__ import annotations

import torch

from demask.sampling.select import Margin


def test_the_widest_lead_goes_first(make_look) -> None:
    p_BLV = torch.tensor([[[0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.45, 0.3, 0.25]]])
    assert Margin()(make_look(p_BLV, [1])).int().tolist() == [[0, 0, 1]]
    assert Margin()(make_look(p_BLV, [2])).int().tolist() == [[0, 1, 1]]

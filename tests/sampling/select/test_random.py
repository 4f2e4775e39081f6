from __future__ import annotations

import torch

from demask.sampling.select import Random


def test_every_open_position_is_as_likely(make_look) -> None:
    candidate_BL = torch.tensor([1, 0, 1, 1, 1]).bool().expand(2000, 5)
    selection = make_look(torch.full((2000, 5, 2), 0.5), [1] * 2000, candidate_BL)
    share_L = Random()(selection).double().mean(0)
    expected_L = torch.tensor([0.25, 0, 0.25, 0.25, 0.25], dtype=torch.float64)
    torch.testing.assert_close(share_L, expected_L, atol=0.04, rtol=0)

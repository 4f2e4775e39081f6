"""Redrawing changes what earlier steps decided, as often as its probability says."""

from __future__ import annotations

import pytest
import torch

from demask import rng
from demask.sampling.correction import Redraw
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.types import Condition, Prediction, Step, TokenLayout

TOKENS, CODES = 400, 1000


def uniform(ids_BL: torch.Tensor, condition: Condition, step: Step) -> Prediction:
    """Every code is equally likely, so that a token drawn again is another one."""
    return Prediction(torch.zeros(*ids_BL.shape, CODES))


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_so_many_tokens_are_drawn_again(probability: float) -> None:
    condition = Condition({"class_ids": torch.tensor([0])})
    canvas = blank(1, TokenLayout((20, 20)), CODES)
    sampler = Sampler(2, corrections=(Redraw(probability),))
    first, second = decode(uniform, condition, canvas, rng.image_generators([5]), sampler)
    decoded_BL = first.decoded_BL
    changed = (first.ids_BL != second.ids_BL)[decoded_BL].double().mean()
    assert float(changed) == pytest.approx(probability, abs=0.08)


def test_no_probability_is_an_error() -> None:
    with pytest.raises(ValueError, match="from 0 .off. to 1, not 2"):
        Redraw(2)

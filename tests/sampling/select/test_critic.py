from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from demask import rng
from demask.sampling.decode import decode
from demask.sampling.edit import keep
from demask.sampling.sampler import Sampler
from demask.sampling.select import Critic, parse_order
from demask.sampling.temperature import Temperature
from demask.types import Condition, Prediction

SILENT = Temperature(0.0)


class Lists(nn.Module):
    """A critic that says the same of every image."""

    def __init__(self, score_L: list[float]) -> None:
        super().__init__()
        self.score_L = torch.tensor(score_L)

    def score(self, ids_BL, condition, step):
        return self.score_L.expand(ids_BL.shape)


def test_it_keeps_what_scores_best_decided_or_not(make_look) -> None:
    selection = make_look(torch.ones(2, 4, 3) / 3, [2, 1])
    order = Critic(SILENT).attach(Lists([0.1, 3.0, -2.0, 1.0]))
    assert order(selection).tolist() == [[False, True, False, True], [False, True, False, False]]


def test_it_sees_the_whole_image_and_what_it_should_show(make_look) -> None:
    seen = []

    class Records(Lists):
        def score(self, ids_BL, condition, step):
            seen.append((ids_BL, condition, step))
            return super().score(ids_BL, condition, step)

    selection = make_look(torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0)), [2, 1])
    Critic(SILENT).attach(Records([1.0, 2.0, 3.0, 4.0]))(selection)
    assert seen == [(selection.ids_BL, selection.condition, selection.step)]


def test_noise_loosens_the_choice_and_fades(make_look) -> None:
    order = Critic(Temperature(50.0, "linear")).attach(Lists([4.0, 3.0, 2.0, 1.0]))
    looks = [make_look(torch.ones(40, 4, 3) / 3, [2] * 40, index=k) for k in (0, 3)]
    best = torch.tensor([True, True, False, False]).expand(40, -1)
    assert not torch.equal(order(looks[0]), best)
    assert torch.equal(order(looks[1]), best)


def test_a_decided_token_that_looks_wrong_is_taken_back_and_a_given_one_never() -> None:
    mask = 5
    ids_BHW = torch.tensor([[[3, mask, mask, mask]]])
    canvas = keep(ids_BHW, ids_BHW != mask, mask)

    def predict(ids_BL, condition, step):
        return Prediction(torch.zeros(*ids_BL.shape, 5))

    class Fickle(Lists):
        """Likes the next token in every step, and the given one never."""

        def score(self, ids_BL, condition, step):
            score_L = torch.zeros(4)
            score_L[0], score_L[1 + step.index % 3] = -9.0, 9.0
            return score_L.expand(ids_BL.shape)

    sampler = Sampler(3, order=Critic(SILENT).attach(Fickle([0.0] * 4)))
    states = decode(predict, Condition({}), canvas, rng.image_generators([1]), sampler)
    visible = [(~state.masked_BL)[0].tolist() for state in states]
    assert visible[0] == [True, True, False, False]
    assert visible[1] == [True, True, True, False]
    assert visible[2] == [True] * 4


def test_no_network_can_be_named_in_words() -> None:
    assert parse_order("critic", SILENT) == Critic(SILENT)
    assert replace(parse_order("critic"), choice_temperature=SILENT) == Critic(SILENT)
    with pytest.raises(ValueError, match="the selection order 'critic' has no options"):
        parse_order("critic:score=1")

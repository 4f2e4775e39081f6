"""Top-1 retrieval: the nearest one is right, or it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demask.evaluation.metrics import measure
from demask.evaluation.retrieval import found, nearest_label
from seen import seen

REAL_KD = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
NEAR_ND = torch.tensor([[9.0, 1.0], [1.0, 2.0], [2.0, 7.0], [5.1, 0.0]])


def test_the_label_is_that_of_the_nearest_real_image() -> None:
    assert nearest_label(NEAR_ND, REAL_KD, torch.tensor([7, 8, 9])).tolist() == [8, 7, 9, 8]
    many_ND = NEAR_ND.repeat(100, 1)  # more than are compared at a time
    assert nearest_label(many_ND, REAL_KD, torch.arange(3)).tolist() == [1, 0, 2, 1] * 100


def test_a_query_finds_the_candidate_of_the_highest_cosine() -> None:
    query_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    candidate_KD = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.8, 0.6]])
    right_NK = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).bool()
    assert found(query_ND, candidate_KD, right_NK) == 3 / 4


def test_the_metric_is_the_share_of_images_that_show_their_prompt() -> None:
    reference = replace(seen(3), features_ND=REAL_KD, labels_N=torch.tensor([7, 8, 9]))
    answers_N = torch.tensor([8, 7, 7, 8])
    samples = replace(seen(4), features_ND=NEAR_ND, answers_N=answers_N)
    (score,) = measure(samples, reference, ["retrieval"], resamples=0)
    assert score.value == pytest.approx(3 / 4)

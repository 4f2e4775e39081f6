"""Differential sampling against the published "bag of design choices" program.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask import rng
from demask.sampling.correction import Correction, Differential
from demask.sampling.decode import decode
from demask.sampling.edit import blank
from demask.sampling.sampler import Sampler
from demask.types import Condition, DecodeState, Prediction, TokenLayout


def probabilities(correction: Correction, logits: list[Tensor], guess=None) -> Tensor:
    """What the second step of a decode draws from, where step k predicts ``logits[k]``."""
    batch, tokens, codes = logits[0].shape
    canvas = blank(batch, TokenLayout((1, tokens)), mask_id=codes)

    def predict(ids_BL, condition, step) -> Prediction:
        return Prediction(logits[step.index])

    generators = rng.image_generators(range(batch))
    states: list[DecodeState] = []
    for state in decode(
        guess or predict, Condition({}), canvas, generators, Sampler(8, corrections=(correction,))
    ):
        states.append(state)
        if len(states) == 2:
            break
    assert states[1].logits_BLV is not None
    return states[1].logits_BLV.softmax(-1)


@pytest.fixture(scope="module")
def case(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "bag_of_choices" / "case.safetensors")


@pytest.fixture(scope="module")
def published(golden: Path) -> Differential:
    text = (golden / "bag_of_choices" / "case.json").read_text()
    facts = json.loads(text)["differential_sampling"]
    (first, stop) = facts["replaced_tokens"]
    tokens = load_file(golden / "bag_of_choices" / "case.safetensors")["diff_logits"].shape[1]
    return Differential((stop - first) / tokens, floor=facts["clip"])


def test_the_published_numbers_are_the_defaults(published: Differential) -> None:
    assert published == Differential()


@pytest.mark.parametrize("previous", ["model", "modified"])
def test_probabilities_agree(case, published, previous) -> None:
    """In the second step both readings of "the step before" are the same."""
    ours_BLV = probabilities(
        replace(published, previous=previous), [case["diff_previous_logits"], case["diff_logits"]]
    )
    error = (ours_BLV - case["diff_probabilities"]).norm() / case["diff_probabilities"].norm()
    assert error < 1e-5
    differs_BLV = (case["diff_logits"].softmax(-1) - case["diff_probabilities"]).norm()
    assert differs_BLV > 0.1, "the case would say nothing"


def test_each_image_agrees_alone(case, published) -> None:
    for b in range(len(case["diff_logits"])):
        both = [case[name][b : b + 1] for name in ("diff_previous_logits", "diff_logits")]
        ours_BLV = probabilities(published, both)
        assert torch.allclose(ours_BLV, case["diff_probabilities"][b : b + 1], atol=1e-6)

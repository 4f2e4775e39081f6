"""What a model knew, for adapters to keep: prompts, half-painted grids, and how far it moved."""

from __future__ import annotations

import torch

from demask.checkpoint.lora import add_adapters, matching_layers
from demask.training.prior import (
    drift,
    join,
    partly_masked,
    random_prompts,
    whole_words,
    without_adapters,
)
from tiny import tiny_text_encoder


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_prompts_are_made_of_whole_words() -> None:
    known = whole_words(tiny_text_encoder().tokenizer)
    assert "apple" in known
    prompts = random_prompts(known, 400, seeded())
    assert prompts == random_prompts(known, 400, seeded())
    assert set(" ".join(prompts).split()) == set(known)
    assert {len(prompt.split()) for prompt in prompts} == {0, 1, 2, 3}
    assert 20 < prompts.count("") < 60
    assert random_prompts([], 3, seeded()) == ["", "", ""]


def test_some_of_a_grid_is_generated_and_some_is_masked() -> None:
    logits_BLV = torch.zeros(200, 16, 5)
    logits_BLV[..., 3] = -torch.inf
    ids_BL = partly_masked(logits_BLV, 5, seeded())
    masked_BL = ids_BL == 5
    assert masked_BL.any(-1).all()
    assert set(ids_BL.unique().tolist()) == {0, 1, 2, 4, 5}
    assert 0.4 < masked_BL.float().mean() < 0.6
    assert masked_BL.float().mean(-1).unique().numel() > 8


def test_without_its_adapters_it_is_the_model_that_it_was() -> None:
    text = tiny_text_encoder()
    ids_BT = text.tokenizer.ids(["red apple"])
    with torch.no_grad():
        before = text.model(ids_BT)
        add_adapters(text.model, matching_layers(text.model, ["fc1"]), 2, 2.0, 0.0, "tiny")
        for name, parameter in text.model.named_parameters():
            if ".lora_" in name:
                parameter += 0.1
        after = text.model(ids_BT)
    with without_adapters(text.model):
        inside = text.model(ids_BT)
    assert all(torch.equal(a, b) for a, b in zip(inside, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(text.model(ids_BT), after, strict=True))
    assert not torch.equal(after[0], before[0])
    assert [p for p in text.model.parameters() if p.requires_grad]


def test_drift_is_the_mean_divergence_of_masked_tokens() -> None:
    before_BLV = torch.randn(2, 4, 5, generator=seeded())
    now_BLV = before_BLV.clone()
    now_BLV[0, 0] += torch.arange(5.0)
    masked_BL = torch.ones(2, 4, dtype=torch.bool)
    assert drift(before_BLV, before_BLV, masked_BL) == 0
    moved = drift(now_BLV, before_BLV, masked_BL)
    assert moved > 0
    masked_BL[0, 1:] = masked_BL[1] = False
    assert torch.isclose(drift(now_BLV, before_BLV, masked_BL), 8 * moved)


def test_batches_are_joined_by_what_both_have() -> None:
    grid = {"shape": torch.tensor([1, 2])}
    first = {"input_BL": torch.zeros(3, 2), "target_BL": torch.zeros(3, 2), **grid}
    joint = join(first, {"input_BL": torch.ones(1, 2), **grid})
    assert joint.keys() == {"input_BL", "shape"}
    assert joint["input_BL"].sum(-1).tolist() == [0, 0, 0, 2]
    assert joint["shape"].tolist() == [1, 2]

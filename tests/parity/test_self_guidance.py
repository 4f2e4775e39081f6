"""Feature selection agrees with the self-guidance authors' program, and learns as theirs does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import load_model
from demask.training.tasks.self_guidance import finetuning_losses
from demask.transformer.feature_selection import FeatureSelection
from demask.transformer.maskgit import MaskGIT
from demask.types import Condition, Step
from differences import relative

Case = dict[str, Tensor]
IGNORED = -100
"""The label of a token that was not replaced."""


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "unlockmgm_transformer" / "case.safetensors")


@pytest.fixture(scope="module")
def base(golden: Path) -> MaskGIT:
    loaded = load_model(golden / "unlockmgm_transformer")
    assert isinstance(loaded, MaskGIT)
    return loaded.requires_grad_(False)


@pytest.fixture(scope="module")
def module(golden: Path) -> FeatureSelection:
    loaded = load_model(golden / "unlockmgm_transformer", architecture="feature_selection")
    assert isinstance(loaded, FeatureSelection)
    return loaded


def step_of(base: MaskGIT, ids_BL: Tensor) -> Step:
    return Step(0, 1, base.layout, (ids_BL == base.mask_id).double().mean(-1))


@torch.inference_mode()
def test_smoothed_and_guided_logits(base: MaskGIT, module: FeatureSelection, case: Case) -> None:
    condition, step = Condition({"class_ids": case["class_ids"]}), step_of(base, case["tokens"])
    plain = base.predict(case["tokens"], condition, step)
    assert plain.features is not None
    smoothed_BLV = module.smoothed_logits(base, plain.features, condition, step)
    assert relative(smoothed_BLV, case["smoothed_logits"]) < 1e-4
    guided_BLV = smoothed_BLV + 2 * (plain.logits_BLV - smoothed_BLV)
    assert relative(guided_BLV, case["guided_logits_s1"]) < 1e-4


def test_finetuning(base: MaskGIT, module: FeatureSelection, case: Case) -> None:
    ids_BL, label_BL = case["finetune_tokens"], case["finetune_labels"]
    condition = Condition({"class_ids": case["class_ids"]})
    logits_BLV, error = module(base, ids_BL, condition, step_of(base, ids_BL))
    assert relative(logits_BLV[..., : base.codebook_size], case["finetune_logits"]) < 1e-4

    replaced_BL = label_BL != IGNORED
    target_BL = torch.where(replaced_BL, label_BL, 0)
    ce, reconstruction = finetuning_losses(logits_BLV, error, target_BL, replaced_BL)
    assert relative(ce[None], case["finetune_ce"]) < 1e-4
    assert relative(reconstruction[None], case["finetune_reconstruction"]) < 1e-4

    (ce + reconstruction).backward()
    checked = 0
    for name, parameter in module.named_parameters():
        if (norm := case.get(f"grad_norm.{name}")) is not None:
            assert parameter.grad is not None
            assert relative(parameter.grad.norm()[None], norm) < 1e-4
            checked += 1
    assert checked == 3

"""The transformer agrees with the self-guidance authors' program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import load_model
from demask.transformer.maskgit import MaskGIT
from demask.types import Condition, Step
from differences import relative

Case = dict[str, Tensor]


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "unlockmgm_transformer" / "case.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path) -> MaskGIT:
    loaded = load_model(golden / "unlockmgm_transformer")
    assert isinstance(loaded, MaskGIT)
    return loaded


@torch.inference_mode()
def test_logits(model: MaskGIT, case: Case) -> None:
    tokens_BL = case["tokens"]
    masked_BL = tokens_BL == model.mask_id
    step = Step(0, 1, model.layout, masked_BL.double().mean(-1))
    prediction = model.predict(tokens_BL, Condition({"class_ids": case["class_ids"]}), step)
    assert relative(prediction.logits_BLV, case["logits"]) < 1e-4


def test_the_mask_id_is_the_one_that_the_case_masks_tokens_with(model: MaskGIT, case: Case) -> None:
    assert case["tokens"].max() == model.mask_id

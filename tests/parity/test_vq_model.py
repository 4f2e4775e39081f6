"""The tokenizer of Meissonic agrees with the public one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import load_model
from demask.tokenizer.vq_model import VQModel
from differences import relative

Case = dict[str, Tensor]


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "meissonic" / "case.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path) -> VQModel:
    loaded = load_model(golden / "meissonic", subfolder="vqvae")
    assert isinstance(loaded, VQModel)
    return loaded


@torch.inference_mode()
def test_encoding(model: VQModel, case: Case) -> None:
    ids_BHW = model.encode(case["encode_images"])
    assert torch.equal(ids_BHW.reshape(case["encoded_tokens"].shape), case["encoded_tokens"])


@torch.inference_mode()
def test_decoding(model: VQModel, case: Case) -> None:
    assert relative(model.decode(case["decode_tokens"]), case["decoded"]) < 1e-4

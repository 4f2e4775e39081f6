"""The tokenizer agrees with the public one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import load_model
from demask.tokenizer.vqgan import VQGAN
from differences import relative

Case = dict[str, Tensor]


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "maskgit_vqgan" / "case.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path) -> VQGAN:
    loaded = load_model(golden / "maskgit_vqgan")
    assert isinstance(loaded, VQGAN)
    return loaded


@torch.inference_mode()
def test_encoding(model: VQGAN, case: Case) -> None:
    ids_BHW = model.encode(case["images"])
    assert torch.equal(ids_BHW.reshape(case["tokens"].shape), case["tokens"])
    assert relative(model.quantize.values(ids_BHW), case["latents"]) < 1e-4


@torch.inference_mode()
def test_decoding(model: VQGAN, case: Case) -> None:
    batch, _, rows, columns = case["latents"].shape
    ids_BHW = case["tokens"].view(batch, rows, columns)
    unclipped = model.decoder(model.quantize.values(ids_BHW))
    assert relative(unclipped, case["reconstruction"]) < 1e-4
    assert relative(model.decode(ids_BHW), case["reconstruction"].clamp(0, 1)) < 1e-4

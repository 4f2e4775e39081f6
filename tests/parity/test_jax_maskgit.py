"""Both networks, converted from the original JAX files, agree with the original program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from demask.checkpoint.convert import convert
from demask.checkpoint.load import load_model
from demask.tokenizer.vqgan import VQGAN
from demask.transformer.maskgit import MaskGIT
from differences import relative

Case = dict[str, Tensor]


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "maskgit_jax" / "case.safetensors")


def converted(source: Path, out: Path) -> nn.Module:
    pytest.importorskip("msgpack")
    (path,) = convert(source, out)
    return load_model(path)


@torch.inference_mode()
def test_transformer(golden: Path, case: Case, tmp_path: Path) -> None:
    model = converted(golden / "maskgit_jax" / "transformer_checkpoint", tmp_path)
    assert isinstance(model, MaskGIT)
    assert model.config.tied
    assert relative(model(case["tokens"], case["class_ids"]), case["logits"]) < 1e-4


@torch.inference_mode()
def test_tokenizer(golden: Path, case: Case, tmp_path: Path) -> None:
    model = converted(golden / "maskgit_jax" / "tokenizer_checkpoint", tmp_path)
    assert isinstance(model, VQGAN)
    ids_BHW = model.encode(case["images"])
    assert torch.equal(ids_BHW.reshape(case["image_tokens"].shape), case["image_tokens"])
    unclipped = model.decoder(model.quantize.values(ids_BHW))
    assert relative(unclipped, case["reconstruction"]) < 1e-4

"""The tokenizers of LlamaGen and taming-transformers agree with the public ones.

Shape legend: B batch, D code width, H W rows and columns.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.read import read_tensors
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from differences import relative

Case = dict[str, Tensor]
FILES = {"llamagen_vq": "vq_ds16_c2i.pt", "taming_vqgan": "last.ckpt"}


@pytest.fixture(scope="module", params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def case(golden: Path, name: str) -> Case:
    return load_file(golden / name / "case.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path, name: str) -> VQModel:
    loaded = load_model(golden / name / FILES[name], dtype=torch.float32)
    assert isinstance(loaded, VQModel)
    return loaded


@torch.inference_mode()
def test_encoding(model: VQModel, case: Case) -> None:
    before_BDHW = model.quant_conv(model.encoder(case["images"]))
    assert relative(before_BDHW, case["latents_before"]) < 1e-4
    # their images are in [-1, 1], ours in [0, 1]
    ids_BHW = model.encode((case["images"] + 1) / 2)
    assert torch.equal(ids_BHW, case["tokens"])
    assert relative(model.latents(ids_BHW), case["latents"]) < 1e-4


@torch.inference_mode()
def test_decoding(model: VQModel, case: Case) -> None:
    reconstruction = (case["reconstruction"].clamp(-1, 1) + 1) / 2
    assert relative(model.decode(case["tokens"]), reconstruction) < 1e-4
    codes_BDHW = model.latents(case["tokens"])
    unclipped = model.decoder(model.post_quant_conv(codes_BDHW))
    assert relative(unclipped, case["reconstruction"]) < 1e-4
    if "decoded" in case:
        decoded = (case["decoded"].clamp(-1, 1) + 1) / 2
        assert relative(model.decode(case["decode_tokens"]), decoded) < 1e-4


@torch.inference_mode()
def test_latents_find_their_codes_again(model: VQModel, case: Case) -> None:
    assert torch.equal(model.nearest(model.latents(case["tokens"])), case["tokens"])


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (VQModelConfig.llamagen(), 71_883_403),
        (VQModelConfig.llamagen(8), 70_109_835),
        (VQModelConfig.taming(), 72_141_699),
    ],
)
def test_published_sizes(config: VQModelConfig, count: int) -> None:
    with torch.device("meta"):
        net = VQModel(config)
    assert sum(p.numel() for p in net.parameters()) == count


def test_missing_and_unexpected_keys_have_their_public_names(
    golden: Path, name: str, tmp_path: Path
) -> None:
    tensors, _ = read_tensors(golden / name / FILES[name])
    lost = next(key for key in tensors if key.startswith("decoder.") and key.endswith("q.bias"))
    tensors["decoder.more"] = tensors.pop(lost)
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=f"missing: {lost}; unexpected: decoder.more$"):
        load_model(tmp_path / "model.ckpt")


def test_the_averaged_weights_come_first(golden: Path, tmp_path: Path) -> None:
    tensors, _ = read_tensors(golden / "llamagen_vq" / FILES["llamagen_vq"])
    ema = {key: tensor + 1 for key, tensor in tensors.items()}
    saved = {"model": tensors, "ema": ema, "steps": 3, "optimizer": {"state": {}}}
    torch.save(saved, tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt")
    assert isinstance(loaded, VQModel)
    codes = loaded.quantize.embedding.weight
    assert torch.equal(codes, ema["quantize.embedding.weight"])

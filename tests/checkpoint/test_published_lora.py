"""LoRA files of aMUSEd's training example: their scale, and what does not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import demask
from demask.checkpoint.load import load_model
from demask.checkpoint.lora import apply_loras
from demask.checkpoint.read import CheckpointError
from demask.transformer.amused import Amused
from demask.types import Condition

LAYER = "transformer.transformer_layers.0.attn1.to_q"


@pytest.fixture
def file(golden: Path) -> Path:
    return golden / "amused" / "lora" / "pytorch_lora_weights.safetensors"


@pytest.fixture
def facts(golden: Path) -> dict:
    return json.loads((golden / "amused" / "case.json").read_text())["lora"]


def network(golden: Path) -> Amused:
    model = load_model(golden / "amused", subfolder="transformer")
    assert isinstance(model, Amused)
    return model


@torch.no_grad()
def logits(model: Amused, golden: Path) -> Tensor:
    """Of the prompts, as the case has them (B, V, H, W)."""
    case = load_file(golden / "amused" / "case.safetensors")
    ids_BHW, half = case["tokens_1"], len(case["states"]) // 2
    micro_B5 = case["micro_conditions"][1].expand(half, -1)
    told = {"states": case["states"][half:], "pooled": case["pooled"][half:], "micro": micro_B5}
    grid = (ids_BHW.shape[1], ids_BHW.shape[2])
    logits_BLV = model(ids_BHW.flatten(1), Condition(told), None, grid)
    return logits_BLV.transpose(1, 2).unflatten(2, grid)


def agrees(golden: Path, lora: str, name: str) -> bool:
    model = network(golden)
    apply_loras(model, None, [lora])
    theirs = load_file(golden / "amused" / "case.safetensors")[name]
    return float((logits(model, golden) - theirs).norm() / theirs.norm()) < 1e-4


def test_both_scales(golden: Path, file: Path, facts: dict) -> None:
    """As the public loader applies it, and as it was trained."""
    scale = facts["alpha"] / facts["rank"]
    for path in (file, file.parent):
        assert agrees(golden, str(path), "lora_as_loaded_logits_1")
        assert agrees(golden, f"{path}:{scale}", "lora_alpha8_logits_1")
    assert not agrees(golden, str(file), "lora_alpha8_logits_1")


def test_the_scale_of_the_metadata(golden: Path, file: Path, facts: dict, tmp_path: Path) -> None:
    told = {"transformer.r": facts["rank"], "transformer.lora_alpha": facts["alpha"]}
    metadata = {"lora_adapter_metadata": json.dumps(told)}
    save_file(load_file(file), tmp_path / "lora.safetensors", metadata)
    assert agrees(golden, str(tmp_path / "lora.safetensors"), "lora_alpha8_logits_1")
    told = {"transformer.lora_alpha": "two"}
    metadata = {"lora_adapter_metadata": json.dumps(told)}
    save_file(load_file(file), tmp_path / "lora.safetensors", metadata)
    with pytest.raises(CheckpointError, match="lora_alpha = 'two'"):
        apply_loras(network(golden), None, [str(tmp_path / "lora.safetensors")])
    save_file(load_file(file), tmp_path / "lora.safetensors", {"lora_adapter_metadata": "["})
    with pytest.raises(CheckpointError, match="lora_adapter_metadata is no JSON object"):
        apply_loras(network(golden), None, [str(tmp_path / "lora.safetensors")])


def test_a_missing_alpha_is_said(
    golden: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        apply_loras(network(golden), None, [f"{file}:2"])
        assert not caplog.records
        apply_loras(network(golden), None, [str(file)])
    assert "holds no alpha; it is applied at scale 1" in caplog.text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({f"{LAYER}.lora_A.weight": None}, f"missing: {LAYER}.lora_A.weight$"),
        ({f"{LAYER}.lora_B.weight": None}, f"missing: {LAYER}.lora_B.weight$"),
        ({f"{LAYER}.lora_A.weight": torch.ones(4, 33)}, "mis-shaped: .* for .4, 32., .32, 4."),
        ({"unet.x.lora_A.weight": torch.ones(4, 4)}, "unexpected: unet.x.lora_A.weight; a LoRA"),
        (
            {
                "transformer.attn9.to_q.lora_A.weight": torch.ones(4, 4),
                "transformer.attn9.to_q.lora_B.weight": torch.ones(4, 4),
            },
            "unexpected: transformer.attn9.to_q.lora_A.weight; Amused has no such linear layer",
        ),
        ({f"{LAYER}.lora_A.weight": torch.full((4, 32), torch.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    golden: Path, file: Path, tmp_path: Path, changes: dict[str, Tensor | None], line: str
) -> None:
    tensors = {n: t for n, t in (load_file(file) | changes).items() if t is not None}
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path)
    model, before = network(golden), network(golden).state_dict()
    with pytest.raises(CheckpointError, match=line) as error:
        apply_loras(model, None, [str(file), str(path)])
    assert "\n" not in str(error.value)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_it_is_loaded_with_the_model(golden: Path, file: Path) -> None:
    plain, adapted = (
        demask.load(golden / "amused", device="cpu", loras=loras).generate(
            "the red apple", steps=3, width=32, height=24
        )[0]
        for loras in ((), (f"{file}:2",))
    )
    assert plain.image.tobytes() != adapted.image.tobytes()
    assert adapted.loaded["loras"] == [f"{file}:2"]

"""aMUSEd's public configuration, its published sizes, and the errors of files that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import demask
from demask.checkpoint.load import load_model
from demask.checkpoint.public_amused import NAMES, amused_from_public
from demask.checkpoint.read import CheckpointError
from demask.transformer.amused import Amused, AmusedConfig
from demask.types import Condition, Step, TokenLayout

FILE = "diffusion_pytorch_model.safetensors"


def public(**changes: Any) -> dict[str, Any]:
    facts = {theirs: getattr(AmusedConfig(), ours) for ours, theirs in NAMES.items()}
    return {**facts, "sample_size": 16, "downsample": False, "upsample": False, **changes}


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({}, 603_537_664),
        ({"downsample": True, "upsample": True, "sample_size": 32}, 608_257_792),
    ],
)
def test_the_published_sizes(changes: dict[str, Any], parameters: int) -> None:
    config = amused_from_public(public(**changes))
    assert config.grid == (changes.get("sample_size", 16),) * 2
    with torch.device("meta"):
        model = Amused(config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.mask_id == 8255


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"use_bias": True}, "use_bias=True; only False is known"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05; only 1e-06 is known"),
        ({"downsample": True}, "downsample without upsample"),
        ({"micro_cond_embed_dim": 640}, "micro_cond_embed_dim 640, but 5 micro-conditions of 256"),
    ],
)
def test_other_networks_are_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(CheckpointError, match=line):
        amused_from_public(public(**changes))


@pytest.mark.parametrize("name", ["hidden_size", "sample_size", "vocab_size"])
def test_a_missing_entry_is_named(name: str) -> None:
    facts = public()
    del facts[name]
    with pytest.raises(CheckpointError, match=f"config.json lacks '{name}'"):
        amused_from_public(facts)


@pytest.fixture
def folder(golden: Path, tmp_path: Path) -> Path:
    """A copy of the golden pipeline."""
    shutil.copytree(golden / "amused", tmp_path / "amused")
    return tmp_path / "amused"


def change(folder: Path, **tensors: Tensor | None) -> None:
    path = folder / "transformer" / FILE
    given = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    kept = {
        name: tensor for name, tensor in (load_file(path) | given).items() if tensor is not None
    }
    save_file(kept, path)


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({"embed__conv__weight": None}, "missing: embed.conv.weight$"),
        ({"extra": torch.ones(1)}, "unexpected: extra$"),
        ({"mlm_layer__conv1__weight": torch.ones(3, 3)}, "mis-shaped: mlm_layer.conv1.weight"),
    ],
)
def test_keys_that_do_not_fit_are_named(
    folder: Path, tensors: dict[str, Tensor | None], line: str
) -> None:
    change(folder, **tensors)
    with pytest.raises(CheckpointError, match=line) as error:
        demask.load(folder, device="cpu")
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_other_codes_is_refused(folder: Path) -> None:
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "codebook_size": 60}))
    change(folder, mlm_layer__conv2__weight=torch.zeros(60, 20, 1, 1))
    with pytest.raises(ValueError, match="knows 60 codes, the tokenizer 64: they do not belong"):
        demask.load(folder, device="cpu")


def test_the_mask_id_of_another_scheduler_is_refused(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text('{"mask_token_id": 8255}')
    with pytest.raises(ValueError, match="mask_token_id 8255, the transformer's is 71$"):
        demask.load(folder, device="cpu")


def test_the_schedule_of_the_scheduler_is_the_default(folder: Path) -> None:
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text('{"mask_token_id": 71, "masking_schedule": "linear"}')
    generator = demask.load(folder, device="cpu")
    assert (generator.settings.schedule, generator.settings.steps) == ("linear", 12)
    assert generator.presets["published"].settings.schedule == "cosine"


@torch.no_grad()
def test_odd_grids(golden: Path) -> None:
    """Any grid without downsampling; with it, an odd side is refused and not made even."""
    small, large = (
        load_model(golden / n, subfolder="transformer") for n in ("amused", "amused_512")
    )
    told = {
        "states": torch.randn(1, 7, 24),
        "pooled": torch.randn(1, 16),
        "micro": torch.tensor([[20.0, 28, 0, 0, 6]]),
    }
    ids_BL, step = torch.full((1, 35), 71), Step(0, 1, TokenLayout((5, 7)), torch.ones(1))
    logits_BLV = small.predict(ids_BL, Condition(told), step).logits_BLV  # type: ignore[operator]
    assert logits_BLV.shape == (1, 35, 64)
    with pytest.raises(ValueError, match="5x7 ids: feature compression needs even sides"):
        large.predict(ids_BL, Condition(told), step)  # type: ignore[operator]

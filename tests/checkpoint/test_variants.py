"""Which of the weights in a folder from the hub are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from demask.checkpoint.read import CheckpointError, read_description, read_tensors

PLAIN = "diffusion_pytorch_model.safetensors"
HALF = "diffusion_pytorch_model.fp16.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
HALF_INDICES = (
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
)


def hub_folder(folder: Path, *names: str) -> Path:
    """Weights files whose one tensor says how many there were before; two shards an index."""
    for number, name in enumerate(names):
        tensors = {"x": torch.tensor(float(number)), "y": torch.zeros(1)}
        if not name.endswith(".json"):
            save_file(tensors, folder / name)
            continue
        dot = ".fp16" if "fp16" in name else ""
        shards = [f"diffusion_pytorch_model{dot}-0000{i}-of-00002.safetensors" for i in (1, 2)]
        for shard, key in zip(shards, tensors, strict=True):
            save_file({key: tensors[key]}, folder / shard)
        places = dict(zip(tensors, shards, strict=True))
        (folder / name).write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text('{"_class_name": "VQModel"}')
    return folder


@pytest.mark.parametrize(
    ("names", "asked", "chosen"),
    [
        ((PLAIN,), {}, 0),
        ((PLAIN,), {"dtype": torch.float16}, 0),
        ((HALF,), {}, 0),
        ((HALF,), {"dtype": torch.float32}, 0),
        ((PLAIN, HALF), {}, 0),
        ((PLAIN, HALF), {"dtype": torch.float32}, 0),
        ((PLAIN, HALF), {"dtype": torch.bfloat16}, 0),
        ((PLAIN, HALF), {"dtype": torch.float16}, 1),
        ((PLAIN, HALF), {"variant": "fp16"}, 1),
        ((PLAIN, HALF), {"variant": "fp16", "dtype": torch.float32}, 1),
        ((PLAIN, HALF), {"variant": "", "dtype": torch.float16}, 0),
        ((INDEX,), {}, 0),
        *(((name,), {}, 0) for name in HALF_INDICES),
        *(((INDEX, name), {}, 0) for name in HALF_INDICES),
        *(((INDEX, name), {"dtype": torch.float16}, 1) for name in HALF_INDICES),
        ((INDEX, HALF), {}, 0),
        ((INDEX, HALF), {"variant": "fp16"}, 1),
        ((PLAIN, "diffusion_pytorch_model.ema.safetensors"), {"variant": "ema"}, 1),
    ],
)
def test_a_variant_is_chosen(
    names: tuple[str, ...], asked: dict, chosen: int, tmp_path: Path
) -> None:
    tensors, description = read_tensors(hub_folder(tmp_path, *names), **asked)
    assert tensors.keys() == {"x", "y"}
    assert tensors["x"] == chosen
    assert tensors["x"].dtype == asked.get("dtype", torch.float32)
    assert description == {"_class_name": "VQModel"} == read_description(tmp_path, **asked)


@pytest.mark.parametrize("name", HALF_INDICES)
def test_an_index_can_be_named(name: str, tmp_path: Path) -> None:
    tensors, description = read_tensors(hub_folder(tmp_path, PLAIN, name) / name)
    assert tensors["x"] == 1
    assert description == {"_class_name": "VQModel"}


def test_a_variant_that_is_not_there_is_said(tmp_path: Path) -> None:
    hub_folder(tmp_path, PLAIN)
    with pytest.raises(CheckpointError, match="no weights of the variant 'fp16'"):
        read_tensors(tmp_path, variant="fp16")
    with pytest.raises(CheckpointError, match="no weights of the variant 'fp16'"):
        read_description(tmp_path, variant="fp16")

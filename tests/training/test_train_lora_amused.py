"""demask train lora on an aMUSEd model: what is adapted, and that the model takes it back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import demask
from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.config import override, parse
from demask.data.transforms import to_tensor
from demask.training.tasks import train
from demask.training.tasks.lora import LoraTraining
from demask.types import Step

CAPTIONS = {"red": (250, 20, 20), "blue": (20, 30, 250)}


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    folder = tmp_path / "drawings"
    folder.mkdir()
    for number, (caption, colour) in enumerate(list(CAPTIONS.items()) * 3):
        pixels = np.array(colour) + random.integers(-5, 5, (32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


@torch.no_grad()
def likelihood(generator: demask.Generator, drawings: Path) -> torch.Tensor:
    """Mean log-likelihood of two images' ids under their captions, all of them masked (2)."""
    images = [Image.open(drawings / f"{number}.png") for number in range(2)]
    ids_BL = generator.tokenizer.encode(torch.stack([to_tensor(i, 32) for i in images])).flatten(1)
    model = generator.transformer
    step = Step(0, 1, model.layout, torch.ones(2))
    masked_BL = torch.full_like(ids_BL, model.mask_id)
    logits_BLV = model.predict(masked_BL, generator.condition(list(CAPTIONS)), step).logits_BLV
    return logits_BLV.log_softmax(-1).gather(-1, ids_BL[..., None]).mean((1, 2))


def test_it_learns_its_images(golden: Path, drawings: Path, tmp_path: Path) -> None:
    model, out = str(golden / "amused"), tmp_path / "lora"
    changes = ["run.steps=60", "run.batch_size=6", "run.tracker=none", "lora.rank=4"]
    recipe = parse(LoraTraining, override({}, [f"data.pictures={drawings}", *changes]))
    path = train("lora", recipe, out, model=model)
    names = load_file(path)
    adapted = {name.split(".lora_")[0].rpartition("transformer.")[2] for name in names}
    assert {
        "transformer_layers.1.attn2.to_q",
        "down_block.attention_blocks.0.attn1.to_v",
    } <= adapted
    plain, taught = (demask.load(model, device="cpu", loras=loras) for loras in ((), (str(out),)))
    assert (likelihood(taught, drawings) > likelihood(plain, drawings) + 0.3).all()


def test_the_targets_of_the_published_example(golden: Path, drawings: Path, tmp_path: Path) -> None:
    changes = ["run.steps=2", "run.batch_size=2", "run.tracker=none", "lora.text=false"]
    changes.append('lora.targets=["to_q","to_k","to_v"]')
    recipe = parse(LoraTraining, override({}, [f"data.pictures={drawings}", *changes]))
    path = train("lora", recipe, tmp_path / "lora", model=str(golden / "amused"))
    theirs = load_file(golden / "amused" / "lora" / "pytorch_lora_weights.safetensors")
    ours = {name.removeprefix("base_model.model.") for name in load_file(path)}
    assert ours == set(theirs)


def test_another_model_of_prompts_is_refused(golden: Path, drawings: Path, tmp_path: Path) -> None:
    model = shutil.copytree(golden / "maskgen" / "text", tmp_path / "model" / "text_encoder").parent
    for part, name, architecture in (
        ("generator", "transformer", "maskgen"),
        ("tokenizer", "tokenizer", "ta_titok"),
    ):
        network = load_model(golden / "maskgen" / part)
        save_model(model / f"{name}.safetensors", network, architecture)
    recipe = parse(LoraTraining, override({}, [f"data.pictures={drawings}"]), "lora")
    with pytest.raises(ValueError, match="holds a MaskGen; LoRA adapts Meissonic, Amused"):
        train("lora", recipe, tmp_path / "lora", model=str(model))

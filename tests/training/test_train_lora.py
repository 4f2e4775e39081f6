"""LoRA training on a few images: what is learned, written, resumed and refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import demask
from demask.cli import demask as program
from demask.config import load_toml, override, parse
from demask.data.transforms import to_tensor
from demask.data.views import ModelViews
from demask.generator import Generator
from demask.training.tasks import train
from demask.training.tasks.lora import LoraTraining
from demask.types import Step, TokenLayout
from tiny import save_tiny, save_tiny_text, tiny_meissonic, tiny_tokenizer

RECIPES = Path(__file__).parents[2] / "recipes" / "lora"
NEW = {"a zorp": (250, 20, 20), "a blick": (20, 30, 250)}
SHORT = ("run.steps=4", "run.batch_size=4", "run.save_every=2", "lora.rank=2")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny random model of prompts."""
    return str(save_tiny_text(tmp_path_factory.mktemp("tiny_text")))


@pytest.fixture
def concepts(tmp_path: Path) -> Path:
    """Three images of each of two things that no model has heard of."""
    random = np.random.default_rng(0)
    folder = tmp_path / "concepts"
    folder.mkdir()
    for number, (caption, colour) in enumerate(list(NEW.items()) * 3):
        noise = random.integers(-5, 5, (16, 16, 3))
        pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


def lora_recipe(images: Path, *changes: str) -> LoraTraining:
    given = [f"data.pictures={images}", "run.tracker=none", *changes]
    return parse(LoraTraining, override({}, given))


def true_ids(generator: Generator, concepts: Path) -> torch.Tensor:
    """The ids of an image of each new thing."""
    images = [Image.open(concepts / f"{number}.png") for number in range(len(NEW))]
    return generator.tokenizer.encode(torch.stack([to_tensor(i, 16) for i in images])).flatten(1)


@torch.no_grad()
def likelihood(generator: Generator, captions: Sequence[str], ids_BL: torch.Tensor) -> torch.Tensor:
    """Mean log-likelihood of each image's ids under its caption, all of them masked (B)."""
    parsed_conditions = [generator.conditioner.parse(caption) for caption in captions]
    condition = generator.conditioner.condition(parsed_conditions, (16, 16), generator.settings)
    masked_BL = torch.full_like(ids_BL, generator.transformer.mask_id)
    step = Step(0, 1, generator.transformer.layout, torch.ones(len(ids_BL)))
    logits_BLV = generator.transformer.predict(masked_BL, condition, step).logits_BLV
    return logits_BLV.log_softmax(-1).gather(-1, ids_BL[..., None]).mean((1, 2))


def generated(generator: Generator, seed: int = 0) -> list[bytes]:
    """The pixels of four images of each new thing."""
    images = generator.generate(list(NEW), num_images=8, seed=seed, steps=3)
    return [image.image.tobytes() for image in images]


def test_it_learns_new_words_and_can_be_left_out(
    model: str, concepts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    rate = "lora.optim.learning_rate=0.02"
    train(
        "lora", lora_recipe(concepts, "run.steps=80", "run.batch_size=12", rate), out, model=model
    )

    plain, taught = demask.load(model), demask.load(model, loras=[str(out)])
    ids_BL = true_ids(plain, concepts)
    assert (ids_BL[0] != ids_BL[1]).any()
    before_B, after_B = (likelihood(g, list(NEW), ids_BL) for g in (plain, taught))
    swapped_B = likelihood(taught, list(NEW)[::-1], ids_BL)
    assert (after_B > before_B + 1).all(), "each caption now means its image"
    assert (after_B > swapped_B + 1).all(), "and not the other's"
    half_B = likelihood(demask.load(model, loras=[f"{out}:0.5"]), list(NEW), ids_BL)
    assert (half_B > before_B).all()

    assert generated(demask.load(model, loras=[f"{out}:0"])) == generated(plain)
    assert generated(taught) != generated(plain)


def test_a_prior_keeps_what_other_prompts_meant(model: str, concepts: Path, tmp_path: Path) -> None:
    plain = demask.load(model)
    ids_BL = true_ids(plain, concepts)
    known = ["red apple", "blue heart"]
    before_B, moved = likelihood(plain, known, ids_BL), []
    for prior in ("0.0", "3.0"):
        out = tmp_path / prior
        changes = ("run.steps=40", "run.batch_size=12")
        rate = "lora.optim.learning_rate=0.02"
        train(
            "lora", lora_recipe(concepts, *changes, rate, f"lora.prior={prior}"), out, model=model
        )
        taught = demask.load(model, loras=[str(out)])
        assert (likelihood(taught, list(NEW), ids_BL) > before_B + 0.3).all()
        moved.append((likelihood(taught, known, ids_BL) - before_B).abs().mean())
    assert moved[1] < moved[0] / 2


def test_the_folder_holds_the_adapters_alone(model: str, concepts: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    path = train("lora", lora_recipe(concepts, *SHORT), out, model=model)
    assert path == out / "adapter_model.safetensors"
    assert not list(out.rglob("*.tmp"))
    tensors = load_file(path)
    assert all(name.startswith("base_model.model.") for name in tensors)
    assert any(".text." in name for name in tensors)
    facts = json.loads((out / "demask.json").read_text())
    assert facts["base"] == Path(model).name
    assert sorted(facts["captions"]) == sorted(NEW)
    assert facts["training"] == {"steps": 4, "seed": 0}
    last = torch.load(out / "checkpoints/adapter_model/step-00000004.pt", weights_only=True)
    assert all(".lora_" in name for name in last["modules"]["adapter_model"])
    assert last["average"].keys() == last["modules"]["adapter_model"].keys()


def test_words_can_be_left_as_they_are(model: str, concepts: Path, tmp_path: Path) -> None:
    recipe = lora_recipe(concepts, *SHORT, "lora.text=false", 'lora.targets=["to_q"]')
    tensors = load_file(train("lora", recipe, tmp_path / "lora", model=model))
    assert all(".attn.to_q.lora_" in name for name in tensors)
    demask.load(model, loras=[str(tmp_path / "lora")])


def test_a_resumed_run_ends_with_the_same_bits(model: str, concepts: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "lora", lora_recipe(concepts, *SHORT, "lora.dropout=0.2")
    whole = train("lora", recipe, out, model=model).read_bytes()
    (out / "checkpoints/adapter_model/step-00000004.pt").unlink()
    (out / "adapter_model.safetensors").unlink()
    assert train("lora", recipe, out, model=model).read_bytes() == whole
    other = lora_recipe(concepts, *SHORT, "lora.alpha=3.0")
    with pytest.raises(ValueError, match="holds a run of another model or other data"):
        train("lora", other, out, model=model)


def test_mistakes_are_one_line(model: str, concepts: Path, images: Path, tmp_path: Path) -> None:
    recipe = lora_recipe(concepts, *SHORT, 'lora.targets=["attn.to_x"]')
    with pytest.raises(ValueError, match="unknown LoRA target 'attn.to_x'; did you mean 'attn.to_"):
        train("lora", recipe, tmp_path / "lora", model=model)
    with pytest.raises(ValueError, match="20 of 20 images have no caption"):
        train("lora", lora_recipe(images, *SHORT), tmp_path / "lora", model=model)
    classes = str(save_tiny(tmp_path / "classes"))
    with pytest.raises(ValueError, match="is a model of classes; LoRA adapts models of prompts"):
        train("lora", lora_recipe(concepts, *SHORT), tmp_path / "lora", model=classes)
    with pytest.raises(ValueError, match="unknown model 'emojy'.*Valid:"):
        train("lora", lora_recipe(concepts), tmp_path / "lora", model="emojy")
    for change in (
        "lora.rank=0",
        "lora.alpha=0.0",
        "lora.dropout=1.0",
        "lora.targets=[]",
        "lora.prior=-1.0",
    ):
        with pytest.raises(ValueError, match=change.split(".")[1].split("=")[0]):
            lora_recipe(concepts, change)


def test_images_are_cut_to_the_size_of_the_model() -> None:
    transformer, tokenizer = tiny_meissonic(), tiny_tokenizer()
    assert ModelViews().of(transformer, tokenizer).sizes == ((16, 16),)
    assert ModelViews(size=8).of(transformer, tokenizer).sizes == ((8, 8),)
    transformer.layout = TokenLayout((4, 2))
    assert ModelViews(count=3).of(transformer, tokenizer).sizes == ((16, 8),)


def test_the_recipe_file_holds_the_defaults() -> None:
    [file] = RECIPES.glob("*.toml")
    assert parse(LoraTraining, load_toml(file), file) == LoraTraining()


def test_the_command_needs_no_recipe(model: str, concepts: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    words = ["train", "lora", "--model", model, "--data", str(concepts), "--out", str(out)]
    result = CliRunner().invoke(program, [*words, "--set", "run.tracker=none", *SHORT])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    result = CliRunner().invoke(program, [*words[:4], "--out", str(out)])
    assert result.exit_code == 2
    assert "name them with --data PATH" in result.stderr

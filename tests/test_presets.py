"""Loading a model by name, by folder and by parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from demask.assembly import load
from demask.checkpoint.save import save_model
from demask.conditioning import Prompts
from demask.presets import PUBLIC_SETTINGS, SHIPPED_MODELS, WEIGHTS
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from tiny import (
    CLASS_NAMES,
    save_tiny,
    save_tiny_text,
    tiny_generator,
    tiny_text_generator,
    tiny_tokenizer,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path)


def test_a_folder_generates_what_its_parts_generate(folder: Path) -> None:
    loaded = load(str(folder))
    assert loaded.class_names == CLASS_NAMES
    condition_inputs = {"conditions": ["cat", "ship"], "steps": 4, "seed": 3}
    expected = tiny_generator().generate(**condition_inputs)
    for image, other in zip(loaded.generate(**condition_inputs), expected, strict=True):
        assert np.array_equal(np.array(image.image), np.array(other.image))


def test_parts_from_two_places(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere.safetensors"
    (folder / "tokenizer.safetensors").rename(alone)
    with pytest.raises(ValueError, match="has no tokenizer beside it"):
        load(str(folder / "transformer.safetensors"))
    generator = load(str(folder / "transformer.safetensors"), tokenizer=str(alone))
    assert generator.size == (16, 16)


def test_a_type_for_the_transformer(folder: Path) -> None:
    generator = load(str(folder), dtype=torch.bfloat16)
    assert next(generator.transformer.parameters()).dtype == torch.bfloat16
    assert next(generator.tokenizer.parameters()).dtype == torch.float32
    assert len(generator.generate("cat", num_images=2, steps=2)) == 2


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown model 'cifar'; did you mean 'cifar10'"):
        load("cifar")
    with pytest.raises(ValueError, match="no weights file"):
        load(str(tmp_path))


def test_parts_that_do_not_belong_together(folder: Path) -> None:
    sizes = ConvTokenizerConfig((4, 4), (16, 16), (1, 1), (1, 1), pixel_width=16)
    save_model(folder / "tokenizer.safetensors", ConvTokenizer(sizes), "conv_tokenizer")
    with pytest.raises(ValueError, match="knows 15 codes, the tokenizer 16"):
        load(str(folder))
    save_model(folder / "transformer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    with pytest.raises(
        ValueError,
        match="transformer.safetensors holds a ConvTokenizer, which is not a transformer",
    ):
        load(str(folder))


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_what_ships_is_whole_and_generates(name: str) -> None:
    generator = load(name)
    images = generator.generate(num_images=3, steps=2)
    assert all(p.image.size == generator.size[::-1] for p in images)
    brightness = [float(np.array(p.image).std()) for p in images]
    assert min(brightness) > 1, "no image is a single colour"
    assert SHIPPED_MODELS[name].license
    files = [path for path in (WEIGHTS / name).rglob("*") if path.is_file()]
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".txt", ".toml"}


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    return save_tiny_text(tmp_path)


def test_a_text_folder_generates_what_its_parts_generate(text_folder: Path) -> None:
    loaded = load(str(text_folder))
    assert isinstance(loaded.conditioner, Prompts)
    assert loaded.class_names == ()
    condition_inputs = {
        "conditions": ["red apple", "blue heart"],
        "steps": 4,
        "seed": 3,
        "width": 24,
    }
    expected = tiny_text_generator().generate(**condition_inputs)
    for image, other in zip(loaded.generate(**condition_inputs), expected, strict=True):
        assert np.array_equal(np.array(image.image), np.array(other.image))


def test_a_text_model_by_its_transformer(text_folder: Path, tmp_path: Path) -> None:
    transformer = str(text_folder / "transformer.safetensors")
    assert load(transformer).size == (16, 16)
    (text_folder / "tokenizer.safetensors").rename(tmp_path / "pixels.safetensors")
    generator = load(transformer, tokenizer=str(tmp_path / "pixels.safetensors"))
    assert len(generator.generate("red apple", steps=2)) == 1


def test_a_text_folder_without_its_text_encoder(text_folder: Path) -> None:
    shutil.rmtree(text_folder / "text_encoder")
    with pytest.raises(
        ValueError, match="reads prompts and lacks a text encoder: no fold"
    ) as error:
        load(str(text_folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("low_memory", [False, True])
def test_the_public_layout_is_sampled_as_released(golden: Path, low_memory: bool) -> None:
    generator = load(str(golden / "meissonic"), low_memory=low_memory)
    assert generator.settings == PUBLIC_SETTINGS
    settings = generator.settings
    assert (settings.steps, settings.guidance_scale, settings.choice_temperature) == (64, 9.0, 2.0)
    assert (settings.schedule, settings.choice_temperature_decay) == ("cosine", "endpoints")
    assert settings.negative_prompt
    assert generator.transformer.config.time == "step_index"
    condition_inputs = {"width": 32, "height": 24, "steps": 6}
    images = generator.generate(["the red apple", "apple"], **condition_inputs)
    assert [p.image.size for p in images] == [(32, 24)] * 2
    assert all(float(np.array(p.image).std()) > 0 for p in images)


def test_the_public_layout_in_half_precision(golden: Path) -> None:
    generator = load(str(golden / "meissonic"), dtype=torch.float16)
    assert isinstance(generator.conditioner, Prompts)
    networks = (generator.transformer, generator.tokenizer, generator.conditioner.text.model)
    assert [{p.dtype for p in network.parameters()} for network in networks] == [
        {torch.float16}
    ] * 3
    (image,) = generator.generate("apple", width=32, height=32, steps=4)
    assert float(np.array(image.image).std()) > 0


@pytest.mark.parametrize("part", ["vqvae", "text_encoder", "tokenizer", "transformer"])
def test_a_public_layout_without_a_part(golden: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(golden / "meissonic", tmp_path / "public")
    shutil.rmtree(tmp_path / "public" / part)
    with pytest.raises(ValueError, match=f"public lacks {part};") as error:
        load(str(tmp_path / "public"))
    assert "\n" not in str(error.value)


def test_a_public_layout_with_another_mask_id(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "meissonic", tmp_path / "public")
    (tmp_path / "public/scheduler/scheduler_config.json").write_text('{"mask_token_id": 64}')
    with pytest.raises(ValueError, match="mask_token_id 64, the transformer's is 71$"):
        load(str(tmp_path / "public"))


@pytest.mark.parametrize("name", ["runs/gone.safetensors", "a/b/c", "gone"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown model '{name}'.*or a path or a hub id"):
        load(name)

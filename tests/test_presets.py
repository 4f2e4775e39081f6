"""Loading a model by name, by folder and by parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from demask.checkpoint.save import save_model
from demask.presets import PRESETS, WEIGHTS, load
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from tiny import CLASS_NAMES, save_tiny, tiny_generator, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path)


def test_a_folder_paints_what_its_parts_paint(folder: Path) -> None:
    loaded = load(str(folder))
    assert loaded.class_names == CLASS_NAMES
    wishes = {"conditions": ["cat", "ship"], "steps": 4, "seed": 3}
    expected = tiny_generator().generate(**wishes)
    for picture, other in zip(loaded.generate(**wishes), expected, strict=True):
        assert np.array_equal(np.array(picture.image), np.array(other.image))


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
    with pytest.raises(ValueError, match="has no tokenizer beside it"):
        load(str(tmp_path))


def test_parts_that_do_not_belong_together(folder: Path) -> None:
    sizes = ConvTokenizerConfig((4, 4), (16, 16), (1, 1), (1, 1), pixel_width=16)
    save_model(folder / "tokenizer.safetensors", ConvTokenizer(sizes), "conv_tokenizer")
    with pytest.raises(ValueError, match="knows 15 codes, the tokenizer 16"):
        load(str(folder))
    save_model(folder / "transformer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    with pytest.raises(ValueError, match="ConvTokenizer is not a transformer"):
        load(str(folder))


@pytest.mark.parametrize("name", PRESETS)
def test_what_ships_is_whole_and_paints(name: str) -> None:
    generator = load(name)
    pictures = generator.generate(num_images=3, steps=2)
    assert all(p.image.size == generator.size[::-1] for p in pictures)
    brightness = [float(np.array(p.image).std()) for p in pictures]
    assert min(brightness) > 1, "no picture is a single colour"
    assert PRESETS[name].license
    assert {p.suffix for p in (WEIGHTS / name).iterdir()} == {".safetensors"}

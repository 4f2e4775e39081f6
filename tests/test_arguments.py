"""Arguments that are no settings are checked as strictly as the settings: one line, no work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import demask
from demask.generator import Generator
from demask.settings import Settings
from tiny import save_tiny, tiny_generator, tiny_text_generator

WHOLE = ("8", True, 2.5, float("nan"), [], {}, b"8")
IMAGE = Image.new("RGB", (16, 16), "red")
MASK = Image.new("L", (16, 16), 255)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


def refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrong", WHOLE)
@pytest.mark.parametrize("name", ["num_images", "batch_size"])
def test_a_count_is_a_whole_number(generator: Generator, name: str, wrong: object) -> None:
    assert f"{name} must be a whole number, not" in refusal(
        generator.images, "cat", **{name: wrong}
    )


@pytest.mark.parametrize("wrong", ["8", True, 2.5, None, b"8", [1, "a"], [1.5], [True]])
def test_a_seed_is_a_whole_number(generator: Generator, wrong: object) -> None:
    assert "a seed must be a whole number, not" in refusal(generator.images, "cat", seed=wrong)


@pytest.mark.parametrize(
    "wrong", [5.5, True, b"cat", {"cat": 1}, object(), ["cat", 1.5], [["cat"]]]
)
def test_a_condition_is_a_prompt_or_a_class(generator: Generator, wrong: object) -> None:
    for model in (generator, tiny_text_generator()):
        assert "a condition must be a prompt, a class name" in refusal(model.images, wrong)


@pytest.mark.parametrize("wrong", [True, 5, ["fast"], object()])
def test_a_preset_is_a_name(generator: Generator, wrong: object) -> None:
    assert "preset must be a name, not" in refusal(generator.images, "cat", preset=wrong)


def test_numbers_of_numpy_are_numbers(generator: Generator) -> None:
    one = generator.generate(np.int64(1), np.int64(1), np.int64(7), steps=np.int32(2))
    (same,) = generator.generate([np.int64(1)], seed=np.array([7]), steps=2)
    assert one[0].image.tobytes() == same.image.tobytes()
    assert [type(image.seed) for image in (*one, same)] == [int, int]


@pytest.mark.parametrize("wrong", ["photo.png", None, np.zeros((16, 16, 3)), (0, 0, 8, 8)])
def test_an_image_is_a_pil_image(generator: Generator, wrong: object) -> None:
    assert "image must be a PIL image" in refusal(generator.inpaint, wrong, MASK, "cat")
    assert "mask must be a PIL image" in refusal(generator.inpaint, IMAGE, wrong, "cat")
    assert "image must be a PIL image" in refusal(generator.outpaint, wrong, 8)
    assert "image must be a PIL image" in refusal(generator.variations, wrong)


@pytest.mark.parametrize("wrong", ["0.5", True, None, [0.5]])
def test_numbers_of_an_edit(generator: Generator, wrong: object) -> None:
    assert "strength must be a number" in refusal(generator.variations, IMAGE, wrong)
    assert "top must be a whole number" in refusal(generator.outpaint, IMAGE, top=wrong)
    if wrong is not None:
        message = refusal(generator.inpaint, IMAGE, MASK, "cat", feather=wrong)
        assert "feather must be a whole number" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model must be a name, a path or a hub id, not None"),
        ({"model": Path("nosuch")}, "unknown model 'nosuch'"),
        ({"dtype": "float61"}, "unknown dtype 'float61'; did you mean 'float16'"),
        ({"dtype": torch.int32}, "unknown dtype 'int32'"),
        ({"device": "gpu"}, "there is no device 'gpu' here; valid: cpu"),
        ({"device": 1.5}, "there is no device '1.5' here; valid: cpu"),
    ],
)
def test_a_model_that_cannot_be_loaded(arguments: dict[str, Any], message: str) -> None:
    assert message in refusal(demask.load, **{"model": "emoji", **arguments})


def test_an_image_names_the_arguments_of_load(tmp_path: Path) -> None:
    (image,) = demask.load(save_tiny(tmp_path), dtype=torch.bfloat16).generate("cat", steps=2)
    read = demask.GeneratedImage.read(image.save(tmp_path / "cat.png"))
    assert read.loaded == {"dtype": "bfloat16"}
    (again,) = demask.load(read.model, **read.loaded).generate(**read.arguments)
    assert again.image.tobytes() == image.image.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"a": "steps=4", "b": {}}}, "variant 'a' must be a dict of settings"),
        ({"prompts": None}, "prompts must be a text or a list of texts, not None"),
        ({"prompts": ["x", 5]}, "prompts must be a text or a list of texts"),
        ({"prompts": []}, "the list of prompts is empty"),
        ({"num_seeds": "a"}, "num_seeds must be a whole number, not 'a'"),
        ({"num_seeds": True}, "num_seeds must be a whole number, not True"),
        ({"seed": "a"}, "a seed must be a whole number"),
        ({"scorers": 5}, "scorers must be a text or a list of texts, not 5"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"variants": 5}, "compare takes a generator and a dict of settings by name"),
    ],
)
def test_a_comparison_that_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    usual = {"variants": {"a": {"steps": 1}, "b": {"steps": 2}}, "prompts": ["x"], "num_seeds": 1}
    assert message in refusal(demask.compare, tiny_text_generator(), **{**usual, **changes})


def test_a_single_prompt_is_one_prompt() -> None:
    variants = {"a": {"steps": 1}, "b": {"steps": 2}}
    result = demask.compare(tiny_text_generator(), variants, "red apple", 1, scorers="emoji_pairs")
    assert result.num_prompts == 1


def test_a_number_beyond_all_floats_is_refused() -> None:
    assert "temperature must be a number" in refusal(Settings, temperature=10**400)
    assert Settings(steps=10**400).steps == 10**400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resamples": "a"}, "resamples must be a whole number, not 'a'"),
        ({"resamples": 1}, "resamples must be 0, or at least 2, not 1"),
        ({"extractors": 5}, "extractors must be a text or a list of texts, not 5"),
        ({"metrics": ["kid", 5]}, "metrics must be a text or a list of texts"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"samples": None}, "samples must be a generator or a path, not None"),
        ({"reference": 5}, "reference must be a path, not 5"),
    ],
)
def test_a_measurement_that_cannot_be_made(
    generator: Generator, changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(
        demask.evaluate, **{"samples": generator, "reference": "nosuch.npz", **changes}
    )


@pytest.mark.parametrize("wrong", [5, None, ["a.png"]])
def test_what_is_no_file_is_not_read(wrong: object) -> None:
    assert "must be a path or an open file" in refusal(demask.GeneratedImage.read, wrong)

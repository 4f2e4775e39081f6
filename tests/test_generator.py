"""The whole pipeline on a tiny random model."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

import demask
from demask.generator import Generator
from demask.rng import MAX_SEED
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def text_generator() -> Generator:
    """A model of prompts in float64, in which rounding never turns a draw."""
    made = tiny_text_generator()
    for network in (made.transformer, made.conditioner.text.model):
        network.double()
    return made


def pixels(images: list) -> np.ndarray:
    return np.stack([np.array(image.image) for image in images])


def test_images_know_how_they_were_made(generator: Generator) -> None:
    images = generator.generate(["cat", 2], num_images=3, seed=7, steps=3, guidance_scale=2.0)
    assert [p.seed for p in images] == [7, 8, 9]
    assert [p.label for p in images] == [1, 2, 1]
    assert [p.prompt for p in images] == ["cat", "ship", "cat"]
    assert {p.image.size for p in images} == {(16, 16)}
    text = {key: value for _, key, value in map(chunk, images[0].png_text().chunks)}
    assert (text["prompt"], text["seed"], text["model"]) == ("cat", "7", "tiny")
    assert json.loads(text["settings"])["guidance_scale"] == 2.0


def chunk(raw: tuple) -> tuple[bytes, str, str]:
    kind, data = raw[0], raw[1]
    key, value = data.split(b"\0", 1)
    return kind, key.decode(), value.decode()


@pytest.mark.parametrize("order", ["confidence", "halton"])
def test_an_image_does_not_depend_on_its_batch(generator: Generator, order: str) -> None:
    condition_inputs = {
        "conditions": ["dog", "cat", "ship"],
        "num_images": 5,
        "order": order,
        "steps": 4,
    }
    together = pixels(generator.generate(**condition_inputs, batch_size=5))
    assert np.array_equal(together, pixels(generator.generate(**condition_inputs, batch_size=2)))
    alone = generator.generate("ship", num_images=1, seed=2, order=order, steps=4)
    assert np.array_equal(together[2], pixels(alone)[0])
    assert not np.array_equal(together[2], together[3])


def test_no_condition_goes_through_all_classes(generator: Generator) -> None:
    assert [p.prompt for p in generator.generate(steps=1)] == ["dog", "cat", "ship"]
    assert [p.label for p in generator.generate([None], steps=1)] == [-1]


def test_guidance_of_one_is_off_and_more_changes_images(generator: Generator) -> None:
    plain = pixels(generator.generate("cat", steps=4, num_images=2))
    assert np.array_equal(
        plain, pixels(generator.generate("cat", steps=4, num_images=2, guidance_scale=1))
    )
    guided = pixels(generator.generate("cat", steps=4, num_images=2, guidance_scale=9.0))
    assert not np.array_equal(plain, guided)


def test_stream_ends_with_what_generate_gives(generator: Generator) -> None:
    states = list(generator.stream(["cat", "dog"], steps=4))
    assert len(states) == 4
    assert [bool(s.masked_BL.any()) for s in states] == [True, True, True, False]
    final = generator.preview(states[-1]).numpy()
    assert np.array_equal(final, pixels(generator.generate(["cat", "dog"], steps=4)))
    early = generator.preview(states[0])
    hidden = states[0].masked_BL.view(2, 4, 4)
    hidden = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert (early[hidden] == 128).all()


def test_images_come_one_by_one(generator: Generator) -> None:
    """A request for more images than memory holds starts at once."""
    endless = generator.images("cat", num_images=10**9, steps=1, batch_size=2)
    assert [p.seed for p in itertools.islice(endless, 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("condition_input", "message"),
    [
        ({"conditions": "cta"}, "unknown class 'cta'; did you mean 'cat'.*dog, cat, ship"),
        ({"conditions": 3}, "class 3 is out of range; valid: 0 to 2"),
        ({"conditions": "-4"}, "class -4 is out of range"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 17}, "steps must be 1 to 16"),
        ({"num_images": 0}, "number of images is at least 1, not 0"),
        ({"batch_size": 0}, "batch size is at least 1, not 0"),
        ({"choice_temperature_decay": "cumulative"}, "needs a choice_temperature"),
        (
            {"choice_temperature": 1.0, "choice_temperature_decay": "cumul"},
            "did you mean 'cumulative'",
        ),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"order": "haltn"}, "did you mean 'halton'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"step": 4}, "unknown setting 'step'; did you mean 'steps'"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 2.0}, "top_p"),
        ({"corrections": ("zig",)}, "unknown correction 'zig'"),
        ({"accelerators": ("token_merging:0.8",)}, "the ratio is 0 .* to 0.75 .*, not 0.8"),
        ({"guidance_schedule": "x", "guidance_scale": 2.0}, "unknown"),
    ],
)
def test_bad_conditions_are_refused_before_anything_runs(
    generator: Generator, condition_input: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generator.jobs(**condition_input)


def test_pixels_are_rounded_not_cut(generator: Generator) -> None:
    ids_BL = torch.arange(16)[None] % generator.tokenizer.codebook_size
    image_BCHW = generator.tokenizer.decode(ids_BL.view(1, 4, 4))
    bytes_BHWC = generator.pixels(ids_BL, generator.transformer.layout)
    error = bytes_BHWC.permute(0, 3, 1, 2) / 255 - image_BCHW
    assert error.abs().max() <= 0.5 / 255 + 1e-6


PROMPTS = ["red apple", "green apple", "blue heart"]


def test_prompts_are_generated_in_turn(text_generator: Generator) -> None:
    images = text_generator.generate(PROMPTS[:2], num_images=3, seed=7, steps=3)
    assert [p.prompt for p in images] == ["red apple", "green apple", "red apple"]
    assert [p.seed for p in images] == [7, 8, 9]
    assert {p.label for p in images} == {-1}
    text = {key: value for _, key, value in map(chunk, images[1].png_text().chunks)}
    assert text["prompt"] == "green apple"
    settings = json.loads(text["settings"])
    assert (settings["negative_prompt"], settings["width"], settings["micro_conditions"]) == (
        "",
        None,
        "",
    )


def test_the_words_change_the_image(text_generator: Generator) -> None:
    one, other = (pixels(text_generator.generate(p, num_images=4, steps=4)) for p in PROMPTS[:2])
    assert not np.array_equal(one, other)
    again = text_generator.generate([PROMPTS[0]], num_images=4, steps=4)
    assert np.array_equal(one, pixels(again))


def test_the_empty_prompt_is_allowed_and_usual(text_generator: Generator) -> None:
    empty = pixels(text_generator.generate("", steps=4))
    assert len(empty) == 1
    for nothing in (None, [None], [""]):
        assert np.array_equal(empty, pixels(text_generator.generate(nothing, steps=4)))


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (16, 16)),
        ({"width": 24}, (24, 16)),
        ({"height": 8}, (16, 8)),
        ({"width": 8, "height": 32}, (8, 32)),
    ],
)
def test_any_size_of_whole_tokens(text_generator: Generator, asked: dict, size: tuple) -> None:
    condition_inputs = {"conditions": PROMPTS[:2], "steps": 2, "guidance_scale": 2.0, **asked}
    images = text_generator.generate(**condition_inputs)
    assert {p.image.size for p in images} == {size}
    (alone,) = text_generator.generate(**{**condition_inputs, "conditions": PROMPTS[1]}, seed=1)
    assert np.array_equal(np.array(images[1].image), np.array(alone.image))
    states = list(text_generator.stream(**condition_inputs))
    assert np.array_equal(text_generator.preview(states[-1]).numpy(), pixels(images))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 33}, "an image of 33x16 pixels: both sides must be multiples of 8$"),
        ({"height": 12}, "16x12 pixels: both sides must be multiples of 8$"),
        ({"width": 0}, "width must be a whole number from 1 to 65535 or None, not 0$"),
        ({"height": -8}, "height must be a whole number from 1 to 65535 or None, not -8$"),
        ({"width": 8, "height": 8, "steps": 5}, "steps must be 1 to 4"),
        ({"micro_conditions": "sore=6"}, "unknown micro-condition 'sore'; did you mean 'score'"),
        ({"conditions": []}, "the list of conditions is empty"),
        ({"conditions": [], "num_images": 2}, "the list of conditions is empty"),
        ({"seed": [1, 2], "num_images": 3}, "2 seeds for 3 images; one each, or one seed"),
        ({"seed": []}, "number of images is at least 1, not 0"),
        ({"seed": [1, -1]}, "seed -1 is out of range"),
        ({"seed": MAX_SEED, "num_images": 2}, f"seed {MAX_SEED + 1} is out of range"),
    ],
)
def test_bad_conditions_of_a_text_model_are_refused(
    text_generator: Generator, asked: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        text_generator.jobs(**asked)
    assert "\n" not in str(error.value)


def test_a_model_of_one_size_says_so(generator: Generator) -> None:
    fixed = replace(generator, transformer=of_one_size(generator.transformer))
    fixed.jobs(width=16, height=16)
    with pytest.raises(ValueError, match="tiny generates 16x16 pixels alone, not 20x16"):
        fixed.jobs(width=20)


def of_one_size(transformer: torch.nn.Module) -> torch.nn.Module:
    """The same, of one size."""
    same = copy.deepcopy(transformer)
    same.resizable = False
    return same


def test_a_seed_for_each_image(text_generator: Generator) -> None:
    seeds = [5, 3, 5, 2**62]
    images = text_generator.generate("red apple", seed=seeds, steps=4, batch_size=3)
    assert [p.seed for p in images] == seeds
    generated = pixels(images)
    assert np.array_equal(generated[0], generated[2])
    assert not np.array_equal(generated[0], generated[1])
    for seed, image in zip(seeds, generated, strict=True):
        (alone,) = text_generator.generate("red apple", seed=seed, steps=4)
        assert np.array_equal(np.array(alone.image), image)


def test_guidance_pulls_away_from_the_negative_prompt(text_generator: Generator) -> None:
    def generate(**settings: object) -> np.ndarray:
        return pixels(text_generator.generate(PROMPTS, steps=4, **settings))

    plain, guided = generate(), generate(guidance_scale=5.0)
    assert np.array_equal(plain, generate(negative_prompt="blue heart")), "guidance is off"
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, generate(guidance_scale=5.0, negative_prompt="blue heart"))


def test_micro_conditions_change_images(text_generator: Generator) -> None:
    plain = pixels(text_generator.generate(PROMPTS * 2, steps=4))
    usual = text_generator.generate(PROMPTS * 2, steps=4, micro_conditions="score=6,width=16")
    assert np.array_equal(plain, pixels(usual))
    other = text_generator.generate(PROMPTS * 2, steps=4, micro_conditions="score=1,crop_top=500")
    assert not np.array_equal(plain, pixels(other))


@pytest.mark.parametrize("order", ["confidence", "halton"])
def test_low_memory_generates_the_same(text_generator: Generator, order: str) -> None:
    lean = replace(text_generator, low_memory=True)
    condition_inputs = {
        "conditions": PROMPTS,
        "guidance_scale": 4.0,
        "negative_prompt": "blue",
        "steps": 5,
    }
    ids = [
        list(g.stream(**condition_inputs, order=order))[-1].ids_BL for g in (text_generator, lean)
    ]
    assert torch.equal(*ids)
    assert [len(set(row)) > 1 for row in ids[0].tolist()] == [True] * 3


def test_low_memory_asks_for_half_as_much_at_a_time(text_generator: Generator) -> None:
    asked: list[int] = []

    class Spy(torch.nn.Module):
        def __getattr__(self, name: str) -> object:
            return getattr(text_generator.transformer, name)

        def parameters(self) -> object:
            return text_generator.transformer.parameters()

        def predict(self, ids_BL: torch.Tensor, *rest: object) -> object:
            asked.append(len(ids_BL))
            return text_generator.transformer.predict(ids_BL, *rest)

    for low_memory, expected in ((False, [6]), (True, [3, 3])):
        asked.clear()
        spied = replace(text_generator, transformer=Spy(), low_memory=low_memory)
        spied.generate(PROMPTS, steps=1, guidance_scale=3.0)
        assert asked == expected


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_s_image_does_not_depend_on_its_batch(
    text_generator: Generator, guidance: float
) -> None:
    condition_inputs = {
        "conditions": PROMPTS,
        "num_images": 7,
        "guidance_scale": guidance,
        "steps": 4,
    }
    together = pixels(text_generator.generate(**condition_inputs, batch_size=7))
    for batch_size in (1, 2, 3):
        assert np.array_equal(
            together, pixels(text_generator.generate(**condition_inputs, batch_size=batch_size))
        )
    (alone,) = text_generator.generate(PROMPTS[2], seed=5, guidance_scale=guidance, steps=4)
    assert np.array_equal(together[5], np.array(alone.image))


def test_what_the_parts_read(text_generator: Generator) -> None:
    condition = text_generator.condition(
        ["red apple", None], text_generator.settings.updated(width=32)
    )
    assert condition["micro"].tolist() == [[32, 16, 0, 0, 6]] * 2
    reference = text_generator.reference(
        text_generator.settings.updated(negative_prompt="red apple")
    )
    assert torch.allclose(reference["pooled"], condition["pooled"][:1], atol=1e-12)
    assert (text_generator.size, text_generator.multiple) == ((16, 16), 8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance_scale": 1.0}, "no effect at guidance_scale 1"),
        ({"guidance_scale": 2.0, "guidance_method": "spatial"}, "but with: classifier_free"),
        ({"guidance_scale": 2.0}, ""),
    ],
)
def test_a_negative_prompt_without_effect_is_named(
    settings: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    demask.load("emoji").chosen(negative_prompt="blurry", **settings)
    assert words in caplog.text
    assert bool(words) == bool(caplog.records)


def test_the_pixels_of_an_image_do_not_depend_on_its_batch() -> None:
    """Convolutions may round differently in a batch, which here is exaggerated."""
    generator = tiny_generator()
    plain = generator.tokenizer

    class Rounding:
        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

        def decode(self, ids_BHW: torch.Tensor) -> torch.Tensor:
            image_BCHW = plain.decode(ids_BHW)
            return image_BCHW if len(ids_BHW) == 1 else 1 - image_BCHW

    other = replace(generator, tokenizer=cast(Any, Rounding()))
    together = other.generate("cat", num_images=3, seed=4, steps=2)
    for number, image in enumerate(together):
        (alone,) = generator.generate("cat", seed=4 + number, steps=2)
        assert np.array_equal(np.asarray(image.image), np.asarray(alone.image))

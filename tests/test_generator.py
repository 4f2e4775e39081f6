"""The whole pipeline on a tiny random model."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from demask.generator import Generator
from demask.rng import MAX_SEED
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def painter() -> Generator:
    """A model of prompts in float64, in which rounding never turns a draw."""
    made = tiny_text_generator()
    for network in (made.transformer, made.conditioner.text.model):
        network.double()
    return made


def pixels(pictures: list) -> np.ndarray:
    return np.stack([np.array(picture.image) for picture in pictures])


def test_pictures_know_how_they_were_made(generator: Generator) -> None:
    pictures = generator.generate(["cat", 2], num_images=3, seed=7, steps=3, guidance=2.0)
    assert [p.seed for p in pictures] == [7, 8, 9]
    assert [p.label for p in pictures] == [1, 2, 1]
    assert [p.prompt for p in pictures] == ["cat", "ship", "cat"]
    assert {p.image.size for p in pictures} == {(16, 16)}
    text = {key: value for _, key, value in map(chunk, pictures[0].png_text().chunks)}
    assert (text["prompt"], text["seed"], text["model"]) == ("cat", "7", "tiny")
    assert json.loads(text["settings"])["guidance"] == 2.0


def chunk(raw: tuple) -> tuple[bytes, str, str]:
    kind, data = raw[0], raw[1]
    key, value = data.split(b"\0", 1)
    return kind, key.decode(), value.decode()


@pytest.mark.parametrize("order", ["confidence", "halton"])
def test_a_picture_does_not_depend_on_its_batch(generator: Generator, order: str) -> None:
    wishes = {"conditions": ["dog", "cat", "ship"], "num_images": 5, "order": order, "steps": 4}
    together = pixels(generator.generate(**wishes, batch_size=5))
    assert np.array_equal(together, pixels(generator.generate(**wishes, batch_size=2)))
    alone = generator.generate("ship", num_images=1, seed=2, order=order, steps=4)
    assert np.array_equal(together[2], pixels(alone)[0])
    assert not np.array_equal(together[2], together[3])


def test_no_condition_goes_through_all_classes(generator: Generator) -> None:
    assert [p.prompt for p in generator.generate(steps=1)] == ["dog", "cat", "ship"]
    assert [p.label for p in generator.generate([None], steps=1)] == [-1]


def test_guidance_of_one_is_off_and_more_changes_pictures(generator: Generator) -> None:
    plain = pixels(generator.generate("cat", steps=4, num_images=2))
    assert np.array_equal(
        plain, pixels(generator.generate("cat", steps=4, num_images=2, guidance=1))
    )
    guided = pixels(generator.generate("cat", steps=4, num_images=2, guidance=9.0))
    assert not np.array_equal(plain, guided)


def test_stream_ends_with_what_generate_gives(generator: Generator) -> None:
    states = list(generator.stream(["cat", "dog"], steps=4))
    assert len(states) == 4
    assert [bool(s.hidden_BL.any()) for s in states] == [True, True, True, False]
    final = generator.preview(states[-1]).numpy()
    assert np.array_equal(final, pixels(generator.generate(["cat", "dog"], steps=4)))
    early = generator.preview(states[0])
    hidden = states[0].hidden_BL.view(2, 4, 4)
    hidden = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert (early[hidden] == 128).all()


def test_pictures_come_one_by_one(generator: Generator) -> None:
    """A request for more pictures than memory holds starts at once."""
    endless = generator.pictures("cat", num_images=10**9, steps=1, batch_size=2)
    assert [p.seed for p in itertools.islice(endless, 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"conditions": "cta"}, "unknown class 'cta'; did you mean 'cat'.*dog, cat, ship"),
        ({"conditions": 3}, "class 3 is out of range; valid: 0 to 2"),
        ({"conditions": "-4"}, "class -4 is out of range"),
        ({"steps": 0}, "steps must be 1 to 16"),
        ({"steps": 17}, "steps must be 1 to 16"),
        ({"num_images": 0}, "number of pictures is at least 1, not 0"),
        ({"batch_size": 0}, "batch size is at least 1, not 0"),
        ({"noise_decay": "cumulative"}, "needs a noise"),
        ({"noise": 1.0, "noise_decay": "cumul"}, "did you mean 'cumulative'"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"order": "haltn"}, "did you mean 'halton'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"step": 4}, "unknown setting 'step'; did you mean 'steps'"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 2.0}, "top_p"),
        ({"corrections": ("zig",)}, "unknown correction 'zig'"),
        ({"accelerators": ("token_merging:0.8",)}, "the ratio is 0 .* to 0.75 .*, not 0.8"),
        ({"guidance_schedule": "x", "guidance": 2.0}, "unknown"),
    ],
)
def test_bad_wishes_are_refused_before_anything_runs(
    generator: Generator, wish: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generator.jobs(**wish)


def test_pixels_are_rounded_not_cut(generator: Generator) -> None:
    ids_BL = torch.arange(16)[None] % generator.tokenizer.codebook_size
    image_BCHW = generator.tokenizer.decode(ids_BL.view(1, 4, 4))
    bytes_BHWC = generator.pixels(ids_BL, (4, 4))
    error = bytes_BHWC.permute(0, 3, 1, 2) / 255 - image_BCHW
    assert error.abs().max() <= 0.5 / 255 + 1e-6


PROMPTS = ["red apple", "green apple", "blue heart"]


def test_prompts_are_painted_in_turn(painter: Generator) -> None:
    pictures = painter.generate(PROMPTS[:2], num_images=3, seed=7, steps=3)
    assert [p.prompt for p in pictures] == ["red apple", "green apple", "red apple"]
    assert [p.seed for p in pictures] == [7, 8, 9]
    assert {p.label for p in pictures} == {-1}
    text = {key: value for _, key, value in map(chunk, pictures[1].png_text().chunks)}
    assert text["prompt"] == "green apple"
    settings = json.loads(text["settings"])
    assert (settings["negative"], settings["width"], settings["micro"]) == ("", None, "")


def test_the_words_change_the_picture(painter: Generator) -> None:
    one, other = (pixels(painter.generate(p, num_images=4, steps=4)) for p in PROMPTS[:2])
    assert not np.array_equal(one, other)
    again = painter.generate([PROMPTS[0]], num_images=4, steps=4)
    assert np.array_equal(one, pixels(again))


def test_the_empty_prompt_is_allowed_and_usual(painter: Generator) -> None:
    empty = pixels(painter.generate("", steps=4))
    assert len(empty) == 1
    for nothing in (None, [None], [""]):
        assert np.array_equal(empty, pixels(painter.generate(nothing, steps=4)))


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (16, 16)),
        ({"width": 24}, (24, 16)),
        ({"height": 8}, (16, 8)),
        ({"width": 8, "height": 32}, (8, 32)),
    ],
)
def test_any_size_of_whole_tokens(painter: Generator, asked: dict, size: tuple) -> None:
    wishes = {"conditions": PROMPTS[:2], "steps": 2, "guidance": 2.0, **asked}
    pictures = painter.generate(**wishes)
    assert {p.image.size for p in pictures} == {size}
    (alone,) = painter.generate(**{**wishes, "conditions": PROMPTS[1]}, seed=1)
    assert np.array_equal(np.array(pictures[1].image), np.array(alone.image))
    states = list(painter.stream(**wishes))
    assert np.array_equal(painter.preview(states[-1]).numpy(), pixels(pictures))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 33}, "a picture of 33x16 pixels: both sides must be multiples of 8$"),
        ({"height": 12}, "16x12 pixels: both sides must be multiples of 8$"),
        ({"width": 0}, "0x16 pixels: both sides must be multiples of 8$"),
        ({"height": -8}, "16x-8 pixels: both sides must be multiples of 8$"),
        ({"width": 8, "height": 8, "steps": 5}, "steps must be 1 to 4"),
        ({"micro": "sore=6"}, "unknown micro-condition 'sore'; did you mean 'score'"),
        ({"conditions": []}, "the list of conditions is empty"),
        ({"conditions": [], "num_images": 2}, "the list of conditions is empty"),
        ({"seed": [1, 2], "num_images": 3}, "2 seeds for 3 pictures; one each, or one seed"),
        ({"seed": []}, "number of pictures is at least 1, not 0"),
        ({"seed": [1, -1]}, "seed -1 is out of range"),
        ({"seed": MAX_SEED, "num_images": 2}, f"seed {MAX_SEED + 1} is out of range"),
    ],
)
def test_bad_wishes_of_a_text_model_are_refused(
    painter: Generator, asked: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        painter.jobs(**asked)
    assert "\n" not in str(error.value)


def test_a_model_of_one_size_says_so(generator: Generator) -> None:
    fixed = replace(generator, transformer=of_one_size(generator.transformer))
    fixed.jobs(width=16, height=16)
    with pytest.raises(ValueError, match="tiny paints 16x16 pixels alone, not 20x16"):
        fixed.jobs(width=20)


def of_one_size(transformer: torch.nn.Module) -> torch.nn.Module:
    """The same, of one size."""
    same = copy.deepcopy(transformer)
    same.resizable = False
    return same


def test_a_seed_for_each_picture(painter: Generator) -> None:
    seeds = [5, 3, 5, 2**62]
    pictures = painter.generate("red apple", seed=seeds, steps=4, batch_size=3)
    assert [p.seed for p in pictures] == seeds
    painted = pixels(pictures)
    assert np.array_equal(painted[0], painted[2])
    assert not np.array_equal(painted[0], painted[1])
    for seed, picture in zip(seeds, painted, strict=True):
        (alone,) = painter.generate("red apple", seed=seed, steps=4)
        assert np.array_equal(np.array(alone.image), picture)


def test_guidance_pulls_away_from_the_negative_prompt(painter: Generator) -> None:
    def paint(**settings: object) -> np.ndarray:
        return pixels(painter.generate(PROMPTS, steps=4, **settings))

    plain, guided = paint(), paint(guidance=5.0)
    assert np.array_equal(plain, paint(negative="blue heart")), "guidance is off"
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, paint(guidance=5.0, negative="blue heart"))


def test_micro_conditions_change_pictures(painter: Generator) -> None:
    plain = pixels(painter.generate(PROMPTS * 2, steps=4))
    usual = painter.generate(PROMPTS * 2, steps=4, micro="score=6,width=16")
    assert np.array_equal(plain, pixels(usual))
    other = painter.generate(PROMPTS * 2, steps=4, micro="score=1,crop_top=500")
    assert not np.array_equal(plain, pixels(other))


@pytest.mark.parametrize("order", ["confidence", "halton"])
def test_low_memory_paints_the_same(painter: Generator, order: str) -> None:
    lean = replace(painter, low_memory=True)
    wishes = {"conditions": PROMPTS, "guidance": 4.0, "negative": "blue", "steps": 5}
    ids = [list(g.stream(**wishes, order=order))[-1].ids_BL for g in (painter, lean)]
    assert torch.equal(*ids)
    assert [len(set(row)) > 1 for row in ids[0].tolist()] == [True] * 3


def test_low_memory_asks_for_half_as_much_at_a_time(painter: Generator) -> None:
    asked: list[int] = []

    class Spy(torch.nn.Module):
        def __getattr__(self, name: str) -> object:
            return getattr(painter.transformer, name)

        def parameters(self) -> object:
            return painter.transformer.parameters()

        def predict(self, ids_BL: torch.Tensor, *rest: object) -> object:
            asked.append(len(ids_BL))
            return painter.transformer.predict(ids_BL, *rest)

    for low_memory, expected in ((False, [6]), (True, [3, 3])):
        asked.clear()
        spied = replace(painter, transformer=Spy(), low_memory=low_memory)
        spied.generate(PROMPTS, steps=1, guidance=3.0)
        assert asked == expected


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_s_picture_does_not_depend_on_its_batch(
    painter: Generator, guidance: float
) -> None:
    wishes = {"conditions": PROMPTS, "num_images": 7, "guidance": guidance, "steps": 4}
    together = pixels(painter.generate(**wishes, batch_size=7))
    for batch_size in (1, 2, 3):
        assert np.array_equal(together, pixels(painter.generate(**wishes, batch_size=batch_size)))
    (alone,) = painter.generate(PROMPTS[2], seed=5, guidance=guidance, steps=4)
    assert np.array_equal(together[5], np.array(alone.image))


def test_what_the_parts_read(painter: Generator) -> None:
    condition = painter.condition(["red apple", None], painter.settings.updated(width=32))
    assert condition["micro"].tolist() == [[32, 16, 0, 0, 6]] * 2
    reference = painter.reference(painter.settings.updated(negative="red apple"))
    assert torch.allclose(reference["pooled"], condition["pooled"][:1], atol=1e-12)
    assert (painter.size, painter.multiple) == ((16, 16), 8)

"""The whole pipeline on a tiny random model."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from demask.generator import Generator
from tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


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

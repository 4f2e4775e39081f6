"""The shipped model that is used where none is named: words become what they mean."""

from __future__ import annotations

import numpy as np
import pytest

import demask
from demask.generator import Generator

SHADES = ("light", "medium", "dark")


@pytest.fixture(scope="module")
def emoji() -> Generator:
    return demask.load("emoji")


def generate(emoji: Generator, *prompts: str) -> np.ndarray:
    """Images (B, H, W, 3) in [0, 1]."""
    return np.stack([np.asarray(p.image) for p in emoji.generate(list(prompts), seed=0)]) / 255


def ink(image_HWC: np.ndarray) -> np.ndarray:
    """The mean colour of what is not white."""
    return image_HWC[image_HWC.min(-1) < 0.8].mean(0)


def test_colours_are_understood(emoji: Generator) -> None:
    red, green, blue = (ink(p) for p in generate(emoji, "red heart", "green heart", "blue heart"))
    assert red.argmax() == 0
    assert green.argmax() == 1
    assert blue.argmax() == 2


def test_an_apple_is_red_and_stands_on_white(emoji: Generator) -> None:
    (apple,) = generate(emoji, "red apple")
    assert apple.shape == (64, 64, 3)
    assert ink(apple).argmax() == 0
    corners = apple[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 0.9


def test_skin_tones_are_part_of_the_prompt(emoji: Generator) -> None:
    hands = generate(emoji, *(f"waving hand {shade} skin tone" for shade in SHADES))
    light, medium, dark = (ink(hand).mean() for hand in hands)
    assert light > medium > dark


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(
    emoji: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    emoji.generate("a cat " * 20, steps=1)
    assert "cut off" in caplog.text

"""A line says so where a request is far from what a model was trained on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor

from demask.generator import Generator
from tiny import tiny_generator, tiny_text_generator


class Exact:
    """A tokenizer of 4x4 pixels that gives an image back with an error of one sign."""

    downsampling, codebook_size = 4, 15

    def __init__(self, error: float) -> None:
        self.error = error
        self.image_BCYX = torch.empty(0)

    def encode(self, image_BCYX: Tensor) -> Tensor:
        self.image_BCYX = image_BCYX
        return torch.zeros(1, *(side // 4 for side in image_BCYX.shape[-2:]), dtype=torch.int64)

    def decode(self, ids_BHW: Tensor) -> Tensor:
        return (self.image_BCYX + self.error).expand(len(ids_BHW), -1, -1, -1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({}, False),
        ({"width": 24}, False),  # 1.5 times the side
        ({"width": 32}, True),
        ({"height": 32}, True),
        ({"width": 8}, True),
    ],
)
def test_a_size_far_from_the_trained_one(
    size: dict, expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    generator = tiny_text_generator()
    assert generator.size == (16, 16)
    generator.generate(["red apple"] * 3, batch_size=1, steps=1, **size)
    width, height = size.get("width", 16), size.get("height", 16)
    line = f"16x16 pixels; at {width}x{height}, expect repeated or broken objects"
    assert caplog.messages == [f"tiny_text was trained on images of {line}"] * expected


def generator_of(error: float) -> Generator:
    return replace(tiny_generator(), tokenizer=Exact(error))


@pytest.mark.parametrize(("error", "expected"), [(0.19, False), (0.21, True)])
@pytest.mark.parametrize("edit", ["inpaint", "outpaint", "variations"])
def test_an_edit_of_an_image_that_the_tokenizer_cannot_give_back(
    error: float, expected: bool, edit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """14 dB is a root mean square error of 0.2."""
    image, mask = Image.new("RGB", (16, 16)), Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 4, 4))
    given = {"inpaint": (mask,), "outpaint": (4,), "variations": (0.5,)}[edit]
    getattr(generator_of(error), edit)(image, *given, seed=[1, 2, 3], steps=1)
    lines = [message for message in caplog.messages if "trained on other images" in message]
    assert len(lines) == expected
    assert not lines or "back at 13.6 dB PSNR" in lines[0]


def test_only_the_kept_pixels_count(caplog: pytest.LogCaptureFixture) -> None:
    generator = generator_of(0.0)
    exact = generator.tokenizer

    def decode(ids_BHW: Tensor) -> Tensor:
        image_BCYX = exact.image_BCYX.clone()
        image_BCYX[..., :8] = 1
        return image_BCYX

    rest = SimpleNamespace(encode=exact.encode, decode=decode, downsampling=4, codebook_size=15)
    image, mask = Image.new("RGB", (16, 16)), Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 16))
    replace(generator, tokenizer=rest).inpaint(image, mask, steps=1)
    assert caplog.messages == []
    replace(generator, tokenizer=rest).inpaint(image, Image.eval(mask, lambda v: 255 - v), steps=1)
    assert len(caplog.messages) == 1

"""Images to write, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from demask.generator import GeneratedImage
from demask.settings import Settings

ImageDataset = Callable[[int], Iterator[GeneratedImage]]


@pytest.fixture
def results() -> ImageDataset:
    """Images of 6x4 pixels, made as they are asked for; image i is as red as i."""

    def make(count: int) -> Iterator[GeneratedImage]:
        for i in range(count):
            image = Image.new("RGB", (6, 4), (i % 256, 0, 0))
            yield GeneratedImage(image, i, i % 3, f"class {i % 3}", "test", Settings())

    return make

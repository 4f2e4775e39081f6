"""Pictures to write, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from demask.generator import Picture
from demask.settings import Settings

Pictures = Callable[[int], Iterator[Picture]]


@pytest.fixture
def pictures() -> Pictures:
    """Pictures of 6x4 pixels, made as they are asked for; picture i is as red as i."""

    def make(count: int) -> Iterator[Picture]:
        for i in range(count):
            image = Image.new("RGB", (6, 4), (i % 256, 0, 0))
            yield Picture(image, i, i % 3, f"class {i % 3}", "test", Settings())

    return make

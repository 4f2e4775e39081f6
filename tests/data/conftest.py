"""Images made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture
def encode() -> Encode:
    """Bytes of a plain image: ``encode(colour, size, format, mode)``."""

    def encoded(
        colour: object = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG", mode: str = "RGB"
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size, colour).save(buffer, kind)
        return buffer.getvalue()

    return encoded

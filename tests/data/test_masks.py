"""Where a mask begins."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from demask.data.masks import read_mask


def ramp() -> Image.Image:
    """All greys, from black to white."""
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_the_lighter_half_of_the_greys_is_white(mode: str) -> None:
    white_X = np.asarray(read_mask(ramp().convert(mode)))[0]
    assert white_X.tolist() == [0] * 128 + [255] * 128


def test_the_more_opaque_half_of_a_layer_is_opaque() -> None:
    strokes = Image.new("RGBA", (256, 1), "white")
    strokes.putalpha(ramp())
    assert np.asarray(read_mask(strokes))[0].tolist() == [0] * 128 + [255] * 128

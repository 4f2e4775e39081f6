import numpy as np
import pytest
from PIL import Image

from demask import editing
from demask.ui.canvas import blank, lower_half, read_canvas
from demask.ui.frames import address
from tiny import tiny_generator


@pytest.fixture(scope="module")
def model():
    return tiny_generator()


def photo(width=16, height=16):
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3))


def test_marked_tokens_and_margins_become_the_mask(model):
    image = photo()
    value = blank(model, address(image), (0, 5)) | {"margins": {"left": 4, "top": 8}}
    edit = read_canvas(model, value)
    assert edit.image.size == edit.mask.size == (20, 24)
    assert edit.image.crop((4, 8, 20, 24)).tobytes() == image.tobytes()
    mask = np.asarray(edit.mask)
    assert mask[:8].all()
    assert mask[:, :4].all()
    inner = mask[8:, 4:].reshape(4, 4, 4, 4)
    assert inner[0, :, 0].all()
    assert inner[1, :, 1].all()
    assert inner.sum() == 2 * 16 * 255


def test_growing_alone_generates_what_outpaint_generates(model):
    value = blank(model, address(photo())) | {"margins": {"right": 8}}
    edit = read_canvas(model, value)
    (ours,) = editing.inpaint(model, edit.image, edit.mask, ["cat"], 1, 3)
    (theirs,) = editing.outpaint(model, photo(), right=8, conditions=["cat"], seed=3)
    assert ours.image.tobytes() == theirs.image.tobytes()


def test_transparent_pixels_stay_so(model):
    image = photo().convert("RGBA")
    image.paste((9, 8, 7, 0), (8, 0, 16, 16))
    edit = read_canvas(model, blank(model, address(image), (0,)) | {"margins": {"right": 4}})
    assert edit.image.crop((0, 0, 16, 16)).tobytes() == image.tobytes()
    assert edit.image.getpixel((19, 0)) == (0, 0, 0, 255)


def test_a_side_that_is_no_multiple_of_a_token_is_covered(model):
    edit = read_canvas(model, blank(model, address(photo(18, 16)), (4,)))
    assert np.asarray(edit.mask)[:4, 16:].all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": ""}, "open an image"),
        ({"image": "data:image/png;base64,AAAA"}, "PNG"),
        ({"cells": []}, "brush"),
        ({"cells": [16]}, "token 16"),
        ({"cells": ["x"]}, "token x"),
        ({"margins": {"left": -4}}, "grows by"),
        ({"margins": {"left": 10**6}}, "grows by"),
    ],
)
def test_a_mistake_is_named(model, change, said):
    value = blank(model, address(photo()), lower_half(model)) | change
    with pytest.raises(ValueError, match=said):
        read_canvas(model, value)

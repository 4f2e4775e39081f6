from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from demask.data.transforms import to_tensor
from demask.data.views import Views

BUCKETS = ((16, 16), (16, 24), (24, 16))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_random_views_are_the_same_on_every_call_and_differ() -> None:
    views, image = Views(size=16, count=4, shift=2), noise(16, 20)
    assert torch.equal(views.view(image, 3, 2), views.view(image, 3, 2))
    seen = {views.view(image, index, 2).numpy().tobytes() for index in range(20)}
    assert len(seen) > 10, "each image moves in its own way"


@pytest.mark.parametrize(
    ("width", "height", "bucket"),
    [(50, 50, 0), (12, 10, 0), (13, 10, 1), (900, 10, 1), (10, 12, 0), (10, 13, 2), (1, 70, 2)],
)
def test_an_image_is_cut_to_the_nearest_ratio(width: int, height: int, bucket: int) -> None:
    views, image = Views(size=99, count=3, shift=2, buckets=BUCKETS), noise(width, height)
    assert views.bucket_of(image) == bucket
    for number in range(3):
        assert views.view(image, 0, number).shape == (3, *BUCKETS[bucket])
    assert torch.equal(views.view(image, 0, 0), to_tensor(image, BUCKETS[bucket]))
    assert torch.equal(views.view(image, 0, 1), to_tensor(image, BUCKETS[bucket]).flip(-1))


def test_without_buckets_images_are_square() -> None:
    assert Views(size=8).sizes == ((8, 8),)
    assert Views(size=8).bucket_of(noise(40, 10)) == 0
    assert "buckets" not in Views(size=8).facts()
    assert Views(size=8, buckets=BUCKETS).facts()["buckets"] == BUCKETS


def test_buckets_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="two buckets have the same aspect ratio: 16 x 24, 32 x 4"):
        Views(size=8, buckets=((16, 24), (32, 48)))
    with pytest.raises(ValueError, match="sides of buckets must be at least 1, not 16 x 0"):
        Views(size=8, buckets=((16, 0),))
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Views(size=8, count=0)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((16, 16), (16, 16, 0, 0)),
        ((640, 640), (16, 16, 0, 0)),  # reduced: nothing of the image is missing
        ((8, 8), (8, 8, 0, 0)),  # enlarged, so it is known to be small
        ((32, 16), (16, 16, 0, 8)),
        ((16, 64), (16, 16, 24, 0)),
        ((64, 32), (16, 16, 0, 8)),  # 16 of 64 pixels are cut off at the left, half as many here
        ((12, 8), (12, 8, 0, 4)),
    ],
)
def test_what_a_model_is_told_of_an_image(size: tuple[int, int], told: tuple) -> None:
    assert Views(size=16).micro(noise(*size)) == told


def test_a_bucket_keeps_what_a_square_would_cut_off() -> None:
    views = Views(size=16, buckets=BUCKETS)
    assert views.micro(noise(240, 160)) == (24, 16, 0, 0)
    assert views.micro(noise(160, 480)) == (16, 24, 12, 0)

"""Images side by side."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from demask.bulk.contact_sheet import (
    CAPTION_SIZE,
    GAP,
    PAPER,
    CaptionedImage,
    best_columns,
    contact_sheet,
    scaled_size,
    shorten,
)


@pytest.mark.parametrize(
    ("count", "columns"),
    [(1, 1), (2, 2), (3, 3), (4, 2), (7, 4), (8, 4), (10, 5), (12, 4), (40, 8), (64, 8)],
)
def test_rows_without_holes(count: int, columns: int) -> None:
    assert best_columns(count) == columns


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), (128, 128)),
        ((16, 32), (64, 128)),
        ((100, 100), (200, 200)),
        ((256, 256), (256, 256)),
        ((1024, 512), (320, 160)),
        ((5000, 1), (320, 1)),
    ],
)
def test_tiles_are_large_enough_to_see(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_size(size) == expected


def test_pixels_stay_hard_and_gaps_are_paper() -> None:
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    sheet = np.array(contact_sheet([CaptionedImage(image), CaptionedImage(image)]))
    assert sheet.shape == (64 + 2 * GAP, 2 * 128 + 3 * GAP, 3)
    assert (sheet[:GAP] == PAPER).all()
    assert (sheet[:, GAP + 128 : 2 * GAP + 128] == PAPER).all()
    first = sheet[GAP:-GAP, GAP : GAP + 128]
    assert (first[:, :64] == (255, 0, 0)).all()
    assert (first[:, 64:] == (0, 0, 255)).all()


def test_a_smaller_image_keeps_its_shape_in_the_middle() -> None:
    wide, square = Image.new("RGB", (64, 32)), Image.new("RGB", (32, 32), (255, 0, 0))
    sheet = np.array(contact_sheet([CaptionedImage(square), CaptionedImage(wide)]))
    assert sheet.shape == (64 + 2 * GAP, 2 * 128 + 3 * GAP, 3)
    first = sheet[GAP:-GAP, GAP : GAP + 128]
    assert (first[:, 32:96] == (255, 0, 0)).all()
    assert (first[:, :32] == PAPER).all()
    assert (first[:, 96:] == PAPER).all()


def test_captions_stand_below() -> None:
    image = Image.new("RGB", (128, 128))
    plain, named = (np.array(contact_sheet([CaptionedImage(image, name)])) for name in ("", "cat"))
    assert named.shape[0] - plain.shape[0] == CAPTION_SIZE + 6
    assert (named[128 + GAP : -GAP] != PAPER).any()
    np.testing.assert_array_equal(named[: 128 + GAP], plain[: 128 + GAP])


def test_a_long_caption_is_cut() -> None:
    font = ImageFont.load_default(CAPTION_SIZE)
    assert shorten("cat", font, 100) == "cat"
    cut = shorten("tench, Tinca tinca, a fish of still waters", font, 100)
    assert cut.startswith("tench")
    assert cut.endswith("...")
    assert font.getlength(cut) <= 100


def test_nothing_is_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])

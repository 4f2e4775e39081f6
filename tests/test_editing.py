"""Inpainting, outpainting and variations on a tiny random model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from demask.editing import image_to_image, inpaint, outpaint, windows
from demask.generator import Generator
from tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


def photo(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (23, 31), (5, 50)])
def test_far_from_the_mask_nothing_changes(generator: Generator, size: tuple[int, int]) -> None:
    image = photo(*size)
    mask = box_mask(size, (1, 1, 4, 4))
    (picture,) = inpaint(generator, image, mask, "cat", seed=3, steps=4, feather=2)
    assert picture.image.size == size
    before, after = np.array(image).astype(int), np.array(picture.image).astype(int)
    painted = np.zeros(size[::-1], bool)
    painted[0:7, 0:7] = True
    assert np.array_equal(before[~painted], after[~painted])
    assert not np.array_equal(before[1:4, 1:4], after[1:4, 1:4])


def test_versions_differ_and_repeat(generator: Generator) -> None:
    image, mask = photo(16, 16), box_mask((16, 16), (4, 4, 12, 12))
    first = [
        np.array(p.image) for p in inpaint(generator, image, mask, num_images=3, seed=5, steps=4)
    ]
    (again,) = inpaint(generator, image, mask, num_images=1, seed=6, steps=4)
    assert np.array_equal(first[1], np.array(again.image))
    assert not np.array_equal(first[0], first[1])


def test_outpaint_keeps_the_picture_in_its_place(generator: Generator) -> None:
    image = photo(16, 16)
    (picture,) = outpaint(generator, image, left=8, top=4, right=3, conditions="dog", feather=0)
    assert picture.image.size == (27, 20)
    inside = picture.image.crop((8, 4, 24, 20))
    assert np.array_equal(np.array(inside), np.array(image))


def test_strength_zero_is_the_reconstruction_and_one_a_new_picture(generator: Generator) -> None:
    image = photo(16, 16)
    versions = list(image_to_image(generator, image, 0.0, num_images=2))
    assert np.array_equal(np.array(versions[0].image), np.array(versions[1].image))
    (new,) = image_to_image(generator, image, 1.0, "cat", seed=1)
    assert not np.array_equal(np.array(new.image), np.array(versions[0].image))


def test_bad_edits_are_refused(generator: Generator) -> None:
    image = photo(16, 16)
    with pytest.raises(ValueError, match="the mask is 8x16 pixels, the picture 16x16"):
        inpaint(generator, image, Image.new("L", (8, 16), 255))
    with pytest.raises(ValueError, match="no white pixel"):
        inpaint(generator, image, Image.new("L", (16, 16)))
    with pytest.raises(ValueError, match="margins"):
        outpaint(generator, image)
    with pytest.raises(ValueError, match="strength"):
        image_to_image(generator, image, 1.5)
    with pytest.raises(ValueError, match="unknown class"):
        image_to_image(generator, image, 0.5, "cta")


@pytest.mark.parametrize("grid", [(8, 8), (9, 17), (12, 8)])
def test_windows_cover_the_grid_and_overlap(grid: tuple[int, int]) -> None:
    covered = np.zeros(grid, int)
    for rows, columns in windows(grid, (8, 8)):
        part = covered[rows, columns]
        assert part.shape == (8, 8)
        covered[rows, columns] += 1
    assert covered.min() >= 1

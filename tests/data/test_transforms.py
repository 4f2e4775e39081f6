from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from demask.data.transforms import (
    cover,
    random_view,
    to_image,
    to_pixels,
    to_tensor,
)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_at_its_own_size_an_image_is_its_pixels() -> None:
    image = noise(16, 16)
    image_CHW = to_tensor(image, 16)
    assert image_CHW.dtype == torch.float32
    assert torch.equal(image_CHW, torch.from_numpy(to_pixels(image)).permute(2, 0, 1) / 255)
    assert np.array_equal(to_pixels(to_image(image_CHW)), to_pixels(image))


@pytest.mark.parametrize(("width", "height"), [(20, 10), (10, 20)])
def test_the_square_is_the_centre(width: int, height: int) -> None:
    image = Image.new("RGB", (width, height), "red")
    left, top = (width - 10) // 2, (height - 10) // 2
    image.paste("blue", (left, top, left + 10, top + 10))
    assert to_pixels(cover(image, 10, 10)).reshape(-1, 3).tolist() == [[0, 0, 255]] * 100
    assert torch.equal(to_tensor(image, 5)[2], torch.ones(5, 5))  # nothing bleeds in


@pytest.mark.parametrize(
    ("size", "to"), [((20, 10), (4, 6)), ((10, 20), (4, 6)), ((9, 6), (4, 6)), ((3, 50), (9, 2))]
)
def test_covering_takes_the_largest_centred_part(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    height, width = to
    scale = min(size[0] / width, size[1] / height)
    across, down = round(width * scale), round(height * scale)
    image = Image.new("RGB", size, "red")
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    image.paste("blue", (left, top, left + across, top + down))
    made = cover(image, height, width)
    assert made.size == (width, height)
    assert to_pixels(made).reshape(-1, 3).tolist() == [[0, 0, 255]] * (height * width)


def test_an_image_of_that_size_is_covered_as_it_is() -> None:
    image = noise(12, 7)
    assert np.array_equal(to_pixels(cover(image, 7, 12)), to_pixels(image))
    assert to_tensor(image, (7, 12)).shape == (3, 7, 12)


def test_reducing_averages_instead_of_picking() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small_CHW = to_tensor(Image.fromarray(stripes), 8)
    assert small_CHW[:, 2:-2, 2:-2].sub(0.5).abs().max() < 0.02


def test_enlarging_and_grey() -> None:
    assert to_tensor(Image.new("L", (4, 4), 51), 12).allclose(torch.tensor(0.2))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_view_depends_on_its_generator_alone() -> None:
    image = noise(12, 12)
    first, again = (random_view(image, 8, True, 2, generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    views = {random_view(image, 8, True, 2, generator(s)).numpy().tobytes() for s in range(40)}
    assert len(views) > 15


def test_a_view_is_mirrored_half_of_the_time() -> None:
    image, plain = noise(6, 6), to_tensor(noise(6, 6), 6)
    mirrored = 0
    for seed in range(200):
        view = random_view(image, 6, True, 0, generator(seed))
        assert torch.equal(view, plain) or torch.equal(view, plain.flip(-1))
        mirrored += torch.equal(view, plain.flip(-1))
    assert 70 < mirrored < 130
    assert torch.equal(random_view(image, 6, False, 0, generator(0)), plain)


def test_a_view_moves_by_every_step_up_to_the_shift() -> None:
    image = Image.new("RGB", (9, 9))
    image.putpixel((4, 4), (255, 255, 255))
    seen = set()
    for seed in range(400):
        view_CHW = random_view(image, 9, False, 2, generator(seed))
        assert view_CHW.shape == (3, 9, 9)
        seen.add(tuple(view_CHW[0].nonzero()[0].tolist()))
    assert seen == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_a_view_may_be_wider_than_high() -> None:
    image = noise(12, 6)
    plain = to_tensor(image, (6, 12))
    views = [random_view(image, (6, 12), True, 2, generator(seed)) for seed in range(300)]
    assert {tuple(view.shape) for view in views} == {(3, 6, 12)}
    assert any(torch.equal(view, plain) for view in views)
    assert any(torch.equal(view, plain.flip(-1)) for view in views)


def test_options_do_not_change_how_much_chance_is_used() -> None:
    states = []
    for flip, shift in ((True, 2), (False, 0)):
        chance = generator(1)
        random_view(noise(8, 8), 8, flip, shift, chance)
        states.append(chance.get_state())
    assert torch.equal(*states)


def test_numbers_outside_the_range_are_clipped() -> None:
    image = to_image(torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1))
    assert image.getpixel((0, 0)) == (0, 128, 255)

"""Inpainting, outpainting and variations on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demask import editing
from demask.editing import inpaint, outpaint, variations, windows
from demask.frame import fill_frame
from demask.generator import Generator
from demask.image import GeneratedImage
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.types import DecodeState
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def text_generator() -> Generator:
    """A model of prompts."""
    return tiny_text_generator()


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
    (result,) = inpaint(generator, image, mask, "cat", seed=3, steps=4, feather=2)
    assert result.image.size == size
    before, after = np.array(image).astype(int), np.array(result.image).astype(int)
    generated = np.zeros(size[::-1], bool)
    generated[0:7, 0:7] = True
    assert np.array_equal(before[~generated], after[~generated])
    assert not np.array_equal(before[1:4, 1:4], after[1:4, 1:4])


def test_an_image_is_mirrored_to_fill_a_window(generator: Generator) -> None:
    pixels_CYX = torch.rand(3, 18, 5, generator=torch.Generator().manual_seed(0))
    frame_CYX = fill_frame(generator, pixels_CYX, {})
    assert frame_CYX.shape == (3, 20, 16)
    columns = [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 4]
    assert torch.equal(frame_CYX[:, :18], pixels_CYX[:, :, columns])
    assert torch.equal(frame_CYX[:, 18:], pixels_CYX[:, [17, 16]][:, :, columns])


@pytest.mark.parametrize(
    "settings",
    [{}, {"guidance_scale": 3.0, "guidance_schedule": "constant"}, {"order": "halton"}],
)
def test_an_edit_of_everything_is_a_new_image(generator: Generator, settings: dict) -> None:
    chosen = {"steps": 4, **settings}
    everything = Image.new("L", (16, 16), 255)
    found = list(inpaint(generator, photo(16, 16), everything, "cat", 2, seed=5, **chosen))
    varied = list(variations(generator, photo(16, 16), 1.0, "cat", 2, seed=5, **chosen))
    alone = generator.generate("cat", num_images=2, seed=5, **chosen)
    assert not changed(alone[0].image, found[0].image).any()
    assert not changed(alone[1].image, found[1].image).any()
    assert changed(alone[0].image, varied[0].image).any(), "its mask has used random numbers"


def layer(width: int, height: int) -> Image.Image:
    """An image whose left half is transparent and whose right quarter is half transparent."""
    image = photo(width, height).convert("RGBA")
    alpha = np.full((height, width), 255, np.uint8)
    alpha[:, : width // 2], alpha[:, -width // 4 :] = 0, 100
    image.putalpha(Image.fromarray(alpha))
    return image


def test_pixels_that_are_kept_keep_their_transparency(generator: Generator, tmp_path: Path) -> None:
    image, mask = layer(32, 16), box_mask((32, 16), (4, 4, 8, 8))
    (result,) = inpaint(generator, image, mask, "cat", steps=2, feather=2)
    before, after = np.array(image), np.array(result.image)
    generated = np.zeros((16, 32), bool)
    generated[2:10, 2:10] = True
    assert np.array_equal(before[~generated], after[~generated])
    assert (after[4:8, 4:8, 3] == 255).all()
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    (other,) = inpaint(generator, flat, mask, "cat", steps=2, feather=2)
    assert np.array_equal(np.array(other.image)[4:8, 4:8], after[4:8, 4:8, :3])
    read = GeneratedImage.read(result.save(tmp_path / "a.png"))
    assert np.array_equal(np.array(read.image), after)
    (wider,) = outpaint(generator, image, right=4, steps=2, feather=0)
    assert np.array_equal(np.array(wider.image)[:, :32], before)
    assert (np.array(wider.image)[:, 32:, 3] == 255).all()


def test_a_hole_that_is_filled_leaves_an_opaque_image(generator: Generator) -> None:
    image = photo(16, 16).convert("RGBA")
    mask = box_mask((16, 16), (4, 4, 12, 12))
    image.putalpha(mask.point([255] * 128 + [0] * 128))
    (result,) = inpaint(generator, image, mask, "cat", steps=2)
    assert result.image.mode == "RGB"


def test_versions_differ_and_repeat(generator: Generator) -> None:
    image, mask = photo(16, 16), box_mask((16, 16), (4, 4, 12, 12))
    first = [
        np.array(p.image) for p in inpaint(generator, image, mask, num_images=3, seed=5, steps=4)
    ]
    (again,) = inpaint(generator, image, mask, num_images=1, seed=6, steps=4)
    assert np.array_equal(first[1], np.array(again.image))
    assert not np.array_equal(first[0], first[1])


def test_outpaint_keeps_the_image_in_its_place(generator: Generator) -> None:
    image = photo(16, 16)
    (result,) = outpaint(generator, image, left=8, top=4, right=3, conditions="dog", feather=0)
    assert result.image.size == (27, 20)
    inside = result.image.crop((8, 4, 24, 20))
    assert np.array_equal(np.array(inside), np.array(image))


def test_strength_zero_is_the_reconstruction_and_one_a_new_image(generator: Generator) -> None:
    image = photo(16, 16)
    versions = list(variations(generator, image, 0.0, num_images=2))
    assert np.array_equal(np.array(versions[0].image), np.array(versions[1].image))
    (new,) = variations(generator, image, 1.0, "cat", seed=1)
    assert not np.array_equal(np.array(new.image), np.array(versions[0].image))


def test_bad_edits_are_refused(generator: Generator) -> None:
    image = photo(16, 16)
    with pytest.raises(ValueError, match="the mask is 8x16 pixels, the image 16x16"):
        inpaint(generator, image, Image.new("L", (8, 16), 255))
    with pytest.raises(ValueError, match="no white pixel"):
        inpaint(generator, image, Image.new("L", (16, 16)))
    with pytest.raises(ValueError, match="margins"):
        outpaint(generator, image)
    with pytest.raises(ValueError, match="strength"):
        variations(generator, image, 1.5)
    with pytest.raises(ValueError, match="unknown class"):
        variations(generator, image, 0.5, "cta")


@pytest.mark.parametrize("grid", [(8, 8), (9, 17), (12, 8)])
def test_windows_cover_the_grid_and_overlap(grid: tuple[int, int]) -> None:
    covered = np.zeros(grid, int)
    for rows, columns in windows(grid, (8, 8)):
        part = covered[rows, columns]
        assert part.shape == (8, 8)
        covered[rows, columns] += 1
    assert covered.min() >= 1


def test_neighbouring_windows_share_at_least_half() -> None:
    found = windows((4, 11), (4, 4))
    assert [columns.start for _, columns in found] == [0, 2, 4, 6, 7]
    assert [rows.start for rows, _ in windows((9, 4), (4, 4))] == [0, 2, 4, 5]


Decoded = list[tuple[Canvas, int, DecodeState]]
"""Of each window: what its decode starts from, the number of steps, and the last state."""


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The windows that are decoded."""
    found: Decoded = []

    def watched(predict, condition, canvas, generators, sampler, first):
        states = list(decode(predict, condition, canvas, generators, sampler, first))
        found.append((canvas, sampler.steps, states[-1]))
        return states

    monkeypatch.setattr(editing, "decode", watched)
    return found


def test_a_window_keeps_what_earlier_windows_have_decoded(
    generator: Generator, decoded: Decoded
) -> None:
    everything = Image.new("L", (32, 16), 255)
    list(inpaint(generator, photo(32, 16), everything, "cat", steps=4))
    starts, ends = [canvas for canvas, _, _ in decoded], [state for _, _, state in decoded]
    assert [int(canvas.masked_BL.sum()) for canvas in starts] == [16, 8, 8]
    for before, after in zip(ends, starts[1:], strict=False):
        end_HW, start_HW = before.ids_BL.view(4, 4), after.ids_BL.view(4, 4)
        assert start_HW[:, :2].equal(end_HW[:, 2:]), "the half that both windows cover"
        assert after.known_BL.view(4, 4)[:, :2].all()


@pytest.mark.parametrize(
    ("box", "steps", "expected"),
    [
        ((0, 0, 16, 16), 5, [5, 3, 3]),  # all of a window, then half of the next ones
        ((0, 0, 4, 4), 8, [2]),  # 2 x 2 tokens of 16
        ((0, 0, 4, 4), 1, [1]),
    ],
)
def test_a_window_makes_the_steps_of_its_share(
    generator: Generator, decoded: Decoded, box: tuple, steps: int, expected: list[int]
) -> None:
    size = (32, 16) if len(expected) > 1 else (16, 16)
    mask = box_mask(size, (0, 0, *size) if len(expected) > 1 else box)
    list(inpaint(generator, photo(*size), mask, "cat", steps=steps))
    assert [made for _, made, _ in decoded] == expected


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Which pixels differ."""
    return (np.array(before).astype(int) != np.array(after).astype(int)).any(-1)


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (23, 31), (5, 50)])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_generates_inside_the_mask_alone(
    text_generator: Generator, size: tuple[int, int], guidance: float
) -> None:
    image, mask = photo(*size), box_mask(size, (1, 1, 4, 4))
    condition_input = {
        "seed": 3,
        "steps": 4,
        "feather": 2,
        "guidance_scale": guidance,
        "negative_prompt": "blue",
    }
    (result,) = inpaint(text_generator, image, mask, "red apple", **condition_input)
    assert (result.prompt, result.label) == ("red apple", -1)
    assert result.image.size == size
    different = changed(image, result.image)
    assert different[1:4, 1:4].any()
    different[:7, :7] = False
    assert not different.any()


def test_the_words_of_an_edit_are_used(text_generator: Generator) -> None:
    image, mask = photo(16, 16), box_mask((16, 16), (0, 0, 16, 12))
    condition_input = {"num_images": 4, "steps": 4}

    def generate(words: str | None) -> list[np.ndarray]:
        return [
            np.array(p.image)
            for p in inpaint(text_generator, image, mask, words, **condition_input)
        ]

    apple, heart, anything = (generate(words) for words in ("red apple", "blue heart", None))
    assert any((a != b).any() for a, b in zip(apple, heart, strict=True))
    assert all(map(np.array_equal, anything, generate(""))), "without words, the empty prompt"
    assert all(map(np.array_equal, apple, generate("red apple")))


def test_prompts_are_generated_around_an_image(text_generator: Generator) -> None:
    image = photo(16, 16)
    condition_input = {"conditions": ["red apple", "blue heart"], "num_images": 2, "steps": 4}
    wider = list(outpaint(text_generator, image, left=8, bottom=4, feather=0, **condition_input))
    assert [p.prompt for p in wider] == ["red apple", "blue heart"]
    for result in wider:
        assert result.image.size == (24, 20)
        assert not changed(image, result.image.crop((8, 0, 24, 16))).any()
    assert changed(wider[0].image, wider[1].image).any()


def test_variations_of_a_prompt(text_generator: Generator) -> None:
    image = photo(24, 16)
    same = list(variations(text_generator, image, 0.0, "red apple", num_images=2))
    assert not changed(same[0].image, same[1].image).any()
    new, other = variations(text_generator, image, 1.0, ["red apple", "blue heart"], num_images=2)
    assert new.image.size == (24, 16)
    assert changed(new.image, same[0].image).any()
    assert changed(new.image, other.image).any()


class Windows:
    """A model that remembers the grids of its windows."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.grids: set[tuple[int, int]] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def predict(self, ids_BL: object, condition: object, step: object) -> object:
        self.grids.add(step.layout.grid)
        return self.inner.predict(ids_BL, condition, step)


@pytest.mark.parametrize(
    ("asked", "grid"), [({}, (4, 4)), ({"width": 32}, (4, 8)), ({"width": 8, "height": 32}, (8, 2))]
)
def test_the_size_is_that_of_a_window(text_generator: Generator, asked: dict, grid: tuple) -> None:
    spy = Windows(text_generator.transformer)
    spied = replace(text_generator, transformer=spy)
    spied.__dict__["device"] = text_generator.device
    image = photo(40, 40)
    (result,) = outpaint(spied, image, right=8, conditions="red apple", steps=4, **asked)
    assert result.image.size == (48, 40)
    assert spy.grids == {grid}


def test_bad_edits_of_a_text_model_are_refused(text_generator: Generator) -> None:
    image, mask = photo(16, 16), box_mask((16, 16), (0, 0, 8, 8))
    with pytest.raises(ValueError, match="both sides must be multiples of 8"):
        inpaint(text_generator, image, mask, "red apple", width=33)
    with pytest.raises(ValueError, match="unknown micro-condition 'x'"):
        inpaint(text_generator, image, mask, "red apple", micro_conditions="x=1")
    with pytest.raises(ValueError, match="2 seeds for 3 images"):
        outpaint(text_generator, image, left=8, num_images=3, seed=[1, 2])
    with pytest.raises(ValueError, match="unknown setting 'step'"):
        variations(text_generator, image, 0.5, step=3)

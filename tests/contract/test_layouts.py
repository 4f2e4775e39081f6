"""Tokens in a row, in a grid with parts and in a video: the loop, edits, previews and refusals.

Shape legend: B batch, L tokens, P positions, S parts, V codebook, C channels, H W of pixels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from demask import rng
from demask.acceleration import ACCELERATORS
from demask.conditioning import Classes
from demask.data.views import ModelViews
from demask.editing import EDITS
from demask.generator import Generator
from demask.guidance import GUIDANCES
from demask.layouts import layouts_of
from demask.sampling.correction import CORRECTIONS
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas, image_to_image, keep, outpaint
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import SCHEDULES, linear
from demask.sampling.select import ORDERS, Halton
from demask.settings import Settings
from demask.types import Condition, Prediction, Step, TokenLayout
from tiny import order_of

ROW, PARTS, VIDEO = TokenLayout((16,)), TokenLayout((2, 4), parts=2), TokenLayout((2, 2, 4))
LAYOUTS = {"row": ROW, "parts": PARTS, "video": VIDEO}
GRID = TokenLayout((4, 4))
SEEDS = [1, 2, 3, 4, 5]
SAMPLERS = {
    **{f"schedule {n}": Sampler(steps=6, schedule=SCHEDULES[n]) for n in SCHEDULES},
    **{f"order {n}": Sampler(steps=6, order=order_of(n)) for n in ORDERS},
    **{f"correction {n}": Sampler(steps=6, corrections=(CORRECTIONS[n](),)) for n in CORRECTIONS},
}
CODES, PIXELS = 4, 2


class Network(nn.Module):
    """A transformer of any layout: every token sees its place, its class and all others."""

    codebook_size, mask_id, resizable, grid_multiple = CODES, CODES, False, 1

    def __init__(self, layout: TokenLayout) -> None:
        super().__init__()
        self.layout = layout
        generator = torch.Generator().manual_seed(3)
        sizes = {"words": CODES + 1, "places": layout.tokens, "classes": 3}
        for name, size in sizes.items():
            value = torch.randn(size, CODES, generator=generator)
            setattr(self, name, nn.Parameter(value))

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        assert step.layout == self.layout
        words_BLV: Tensor = self.words[ids_BL]  # type: ignore[index]
        class_B1V = self.classes[condition["class_ids"]][:, None]  # type: ignore[index]
        return Prediction(words_BLV.mean(1, keepdim=True) + self.places + 2 * class_B1V)

    def unconditional(self) -> Condition:
        return Condition({"class_ids": torch.tensor([2])})


class Pixels(nn.Module):
    """Ids <-> grey levels: a cell of pixels for a position of a grid, a column for one of a row."""

    downsampling = PIXELS

    def __init__(self, layout: TokenLayout) -> None:
        super().__init__()
        self.codebook_size, self.layout = CODES**layout.parts, layout
        self.image_size = (PIXELS, layout.positions * PIXELS)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        levels_BHW = image_BCHW[:, 0, ::PIXELS, ::PIXELS] * (self.codebook_size - 1)
        return levels_BHW.round().long() if self.layout.shape != (16,) else levels_BHW[:, 0].long()

    def decode(self, ids: Tensor) -> Tensor:
        assert ids.shape[1:] == self.layout.shape
        ids_BHW = ids if ids.ndim == 3 else ids.flatten(1)[:, None]
        image_BHW = ids_BHW / (self.codebook_size - 1)
        for dimension in (1, 2):
            image_BHW = image_BHW.repeat_interleave(PIXELS, dimension)
        return image_BHW[:, None].expand(-1, 3, -1, -1)


def generator_of(layout: TokenLayout) -> Generator:
    transformer: Any = Network(layout)
    classes = Classes("toy", transformer, ("dog", "cat"))
    return Generator("toy", Pixels(layout), transformer, classes, Settings(steps=4))


def moved(canvas: Canvas, layout: TokenLayout) -> Canvas:
    return Canvas(canvas.ids_BL, canvas.known_BL, layout, canvas.mask_id)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_loop_decodes_every_layout_that_the_variants_claim(
    kind, name, model, canvas, condition
) -> None:
    sampler, layout = SAMPLERS[name], LAYOUTS[kind]
    if not all(layouts_of(part).serve(layout) for part in sampler.parts):
        pytest.skip("not claimed")
    found = {}
    for each in (layout, GRID):
        start, generators = moved(canvas, each), rng.image_generators(SEEDS)
        states = list(decode(model(sampler), condition, start, generators, sampler))
        assert all(state.step.layout == each for state in states)
        found[each] = states[-1].ids_BL
        assert not states[-1].masked_BL.any()
        assert torch.equal(found[each][canvas.known_BL], canvas.ids_BL[canvas.known_BL])
    if not isinstance(sampler.order, Halton):  # the others look at no neighbours
        assert torch.equal(found[layout], found[GRID])


def test_halton_decides_the_parts_of_a_position_together() -> None:
    network = Network(PARTS)
    canvas = generator_of(PARTS).blank(next(generator_of(PARTS).jobs(["dog"], 2)))
    sampler = Sampler(steps=4, schedule=linear, order=Halton())
    condition = Condition({"class_ids": torch.tensor([0, 0])})
    plain, visited = generator_of(TokenLayout((2, 4))), []
    for state in decode(network.predict, condition, canvas, rng.image_generators([0, 1]), sampler):
        masked_BPS = state.masked_BL.view(2, 8, 2)
        assert torch.equal(masked_BPS[..., 0], masked_BPS[..., 1])
        visited.append(masked_BPS[..., 0])
    states = plain.stream(["dog"], 2, order="halton", schedule="linear", steps=4)
    for expected, masked_BP in zip(states, visited, strict=True):
        assert torch.equal(expected.masked_BL, masked_BP)


def test_ids_are_split_into_the_lowest_digit_first_and_joined_again() -> None:
    layout = TokenLayout((2, 3), parts=3)
    ids_BHW = torch.arange(6).view(1, 2, 3) * 10
    tokens = layout.split(ids_BHW, 4)
    assert tokens.shape == (1, *layout.dims)
    assert tokens[0, 0, 1].tolist() == [2, 2, 0]  # 10 = 2 + 2 * 4
    assert torch.equal(layout.join(tokens.flatten(1), 4), ids_BHW)
    assert (layout.tokens, layout.positions, layout.sides) == (18, 6, "3x2x3")
    assert len({layout, TokenLayout((2, 3), 3), TokenLayout((2, 3))}) == 2


@pytest.mark.parametrize("shape", [(), (0, 2), (1, 2, 3, 4), (-1,)])
def test_a_layout_has_one_to_three_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one to three dimensions"):
        TokenLayout(shape)
    with pytest.raises(ValueError, match="parts, of at least 1"):
        TokenLayout((2, 2), parts=0)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_images_of_every_layout_alone_and_in_a_batch(kind: str) -> None:
    generator = generator_of(LAYOUTS[kind])
    assert f"{LAYOUTS[kind].sides} tokens of 4 codes" in repr(generator)
    images = generator.generate(["dog", "cat"], 3, guidance_scale=2)
    assert [image.image.size[::-1] for image in images] == [generator.size] * 3
    (alone,) = generator.generate("cat", seed=1, guidance_scale=2)
    assert alone.image.tobytes() == images[1].image.tobytes()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_does_not_serve_a_layout_is_refused_in_one_line(kind: str) -> None:
    layout, generator = LAYOUTS[kind], generator_of(LAYOUTS[kind])
    tables = {
        "order": (ORDERS, {}),
        "guidance_method": (GUIDANCES, {"guidance_scale": 3.0}),
        "corrections": (CORRECTIONS, {}),
        "accelerators": (ACCELERATORS, {}),
    }
    refused = 0
    for setting, (table, more) in tables.items():
        valid = [name for name, row in table.items() if layouts_of(row).serve(layout)]
        for name in set(table) - set(valid):
            refused += 1
            chosen: Any = {setting: name, **more}
            with pytest.raises(
                ValueError, match=f"^{setting} '{name}' needs a (row|grid)"
            ) as error:
                generator.jobs("dog", **chosen)
            assert str(error.value).endswith(f"are {layout}; valid: {', '.join(valid) or 'none'}")
    assert refused == {"row": 5, "parts": 3, "video": 6}[kind]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_training_beside_such_a_model_is_refused(kind: str) -> None:
    transformer: Any = Network(LAYOUTS[kind])
    with pytest.raises(ValueError, match="needs a grid with one token at each position, but"):
        ModelViews().of(transformer, Pixels(LAYOUTS[kind]))


def test_a_guidance_that_is_off_may_serve_no_such_layout() -> None:
    assert len(generator_of(ROW).generate("dog", guidance_method="spatial")) == 1


def test_spatial_edits_of_a_row_are_refused_and_variations_are_made() -> None:
    generator = generator_of(ROW)
    image, mask = Image.new("RGB", (32, 2)), Image.new("L", (32, 2), 255)
    message = "edit '{}' needs a grid of tokens, .* are a row of 16 tokens; valid: variations$"
    with pytest.raises(ValueError, match=message.format("inpaint")):
        generator.inpaint(image, mask)
    with pytest.raises(ValueError, match=message.format("outpaint")):
        generator.outpaint(image, left=8)
    (same,) = generator.variations(image, 0.0, "dog")
    assert same.image.tobytes() == image.tobytes()
    (other,) = generator.variations(image, 1.0, "dog")
    assert other.image.size == image.size
    with pytest.raises(ValueError, match="image of 34x2 pixels: .* at most 32x2 pixels"):
        generator.variations(Image.new("RGB", (34, 2)), 0.5, "dog")
    assert set(EDITS) == {"inpaint", "outpaint", "variations"}


def test_an_edit_masks_all_parts_of_a_position() -> None:
    ids = torch.randint(CODES, (1, *PARTS.dims), generator=torch.Generator().manual_seed(0))
    known_BHW = torch.zeros(1, 2, 4, dtype=torch.bool)
    known_BHW[:, 0] = True
    canvas = keep(ids, known_BHW, CODES, parts=2)
    assert canvas.layout == PARTS
    assert torch.equal(canvas.known_BL.view(1, 2, 4, 2), known_BHW[..., None].expand(-1, -1, -1, 2))
    varied = image_to_image(ids, 0.5, rng.image_generators([0]), CODES, parts=2)
    masked_BPS = varied.masked_BL.view(1, 8, 2)
    assert masked_BPS.sum() == 8
    assert torch.equal(masked_BPS[..., 0], masked_BPS[..., 1])
    wide = outpaint(ids, (3, 5), (1, 0), CODES, parts=2)
    assert wide.layout == TokenLayout((3, 5), 2)
    assert torch.equal(wide.ids_BL.view(1, *wide.layout.dims)[:, 1:, :4], ids)


def test_an_image_of_parts_is_inpainted_and_the_rest_stays() -> None:
    generator = generator_of(PARTS)
    (image,) = generator.generate("dog")
    mask = Image.new("L", image.image.size)
    mask.paste(255, (6, 0, 8, 4))
    (edited,) = generator.inpaint(image.image, mask, "cat", feather=0, seed=4)
    before, after = (torch.tensor(list(one.image.getdata())) for one in (image, edited))
    assert (before != after).view(4, 8, 3)[:, 6:].any()
    assert torch.equal(before.view(4, 8, 3)[:, :6], after.view(4, 8, 3)[:, :6])


def test_a_half_known_position_is_half_grey() -> None:
    generator = generator_of(PARTS)
    (job,) = generator.jobs("dog")
    state = generator.blank(job).state(4)
    ids_BL = state.ids_BL.clone()
    ids_BL[0, :3] = 3  # the first position is known, the second in its lower half
    known = type(state)(state.step, ids_BL, state.known_BL, state.known_BL, CODES)
    shown_HW = generator.preview(known)[0, ::PIXELS, ::PIXELS, 0]
    assert shown_HW[0].tolist() == [255, int((255 * 3 / 15 + 128) / 2), 128, 128]
    row = generator_of(ROW)
    (job,) = row.jobs("dog")
    assert row.preview(row.blank(job).state(4)).max() == 0  # a row has no places to cover


def test_a_layout_says_what_it_is() -> None:
    texts = [str(layout) for layout in (*LAYOUTS.values(), GRID)]
    assert texts == [
        "a row of 16 tokens",
        "a grid of 2 x 4 positions with 2 tokens each",
        "a video of 2 x 2 x 4 tokens",
        "a grid of 4 x 4 tokens",
    ]

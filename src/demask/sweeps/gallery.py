"""Image grids: the same seeds with several settings, and one-step predictions.

Shape legend: B batch, C channels, H W rows and columns (of tokens, or of pixels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from demask import rng
from demask.bulk.contact_sheet import scaled, scaled_size, shorten
from demask.conditioning import ConditionInput
from demask.data.transforms import to_tensor
from demask.generator import Generator
from demask.sampling.decode import last
from demask.sampling.edit import Canvas, image_to_image

GAP, TEXT = 4, 14
PAPER, INK = (255, 255, 255), (60, 60, 60)

FigureRow = tuple[str, list[Image.Image]]
"""The label of a row, of one or two lines, and its images."""


@dataclass(frozen=True)
class Variant:
    """A row of a comparison.

    Attributes:
        name: the label of its row.
        settings: settings that differ from the defaults of the model.
    """

    name: str
    settings: Mapping[str, Any]


def same_seeds(
    generator: Generator,
    variants: Sequence[Variant],
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
) -> Image.Image:
    """An image grid with a row for each variant and a column for each seed.

    It corresponds to figure 1 of arXiv 2410.13136.

    Raises:
        ValueError: no variant, or settings that the model does not support.
    """
    if not variants:
        raise ValueError("nothing to compare: name at least one variant")
    for variant in variants:
        generator.jobs(conditions, num_images, seed, **variant.settings)
    rows, heads = list[FigureRow](), list[str]()
    for variant in variants:
        images = generator.generate(conditions, num_images, seed, **variant.settings)
        heads = [image.prompt for image in images]
        rows.append((variant.name, [image.image for image in images]))
    return sheet(rows, heads)


def one_step(
    generator: Generator,
    images: Sequence[Image.Image],
    condition_inputs: Sequence[ConditionInput],
    methods: Sequence[str],
    scale: float = 2.0,
    mask_ratio: float = 0.9,
    seed: int = 0,
) -> Image.Image:
    """Images of which most tokens are masked, predicted in one step (arXiv 2410.13136, figure 2).

    Each guidance has two rows: its reference, and the guided prediction. Every masked token gets
    the most likely code, so that no random draw differs between rows.

    Args:
        generator: the model.
        images: the images, of any size.
        condition_inputs: the condition of each image.
        methods: rows of `GUIDANCES`.
        scale: the guidance scale.
        mask_ratio: the fraction of the tokens to mask.
        seed: seed of the first image's mask; those of the others follow it.

    Raises:
        ValueError: no images, or a guidance that the model does not support.
    """
    if not images:
        raise ValueError("no images to mask tokens of")
    pixels_BCHW = torch.stack([to_tensor(image, generator.size) for image in images])
    with torch.inference_mode():
        ids = generator.tokens(pixels_BCHW)
    generators = rng.image_generators(range(seed, seed + len(images)))
    model = generator.transformer
    canvas = image_to_image(ids, mask_ratio, generators, model.mask_id, model.layout.parts)
    ids_BL = ids.flatten(1)
    truth_BHWC = generator.pixels(ids_BL, canvas.layout)
    greyed_BHWC = generator.greyed(truth_BHWC, canvas.masked_BL, canvas.layout)
    rows = [
        ("image", [Image.fromarray(p) for p in to_bytes(pixels_BCHW)]),
        ("its tokens", images_of(truth_BHWC)),
        (f"{mask_ratio:.0%} masked", images_of(greyed_BHWC)),
    ]
    names: dict[str, dict[str, Any]] = {"one step": {"guidance_scale": 1.0}}
    for method in methods:
        guided = {"guidance_method": method, "guidance_schedule": "constant"}
        name = method.replace("_", " ")
        names[f"{name}: reference"] = {**guided, "guidance_scale": 0.0}
        names[f"{name}: scale {scale:g}"] = {**guided, "guidance_scale": scale}
    for name, settings in names.items():
        rows.append(guess(generator, name, canvas, ids_BL, condition_inputs, seed, settings))
    return sheet(rows, [])


def guess(
    generator: Generator,
    name: str,
    canvas: Canvas,
    ids_BL: Tensor,
    condition_inputs: Sequence[ConditionInput],
    seed: int,
    settings: Mapping[str, Any],
) -> FigureRow:
    """A row of images whose masked tokens are predicted in one step; its label has the accuracy."""
    plain = {"steps": 1, "temperature": 0.0, "top_k": 0, "top_p": 1.0, **settings}
    (job,) = generator.jobs(list(condition_inputs), len(ids_BL), seed, len(ids_BL), **plain)
    state = last(generator.decode(job, canvas))
    right = (state.ids_BL == ids_BL)[canvas.masked_BL].double().mean()
    found = generator.pixels(state.ids_BL, canvas.layout, state.condition)
    return f"{name}\n{float(right):.1%} of codes right", images_of(found)


def to_bytes(image_BCHW: Tensor) -> Any:
    """Images in [0, 1] as an array of bytes (B, H, W, C)."""
    return (image_BCHW * 255).round().byte().permute(0, 2, 3, 1).numpy()


def images_of(pixels_BHWC: Tensor) -> list[Image.Image]:
    """The images of a uint8 tensor (B, H, W, C)."""
    return [Image.fromarray(pixels_HWC) for pixels_HWC in pixels_BHWC.numpy()]


def sheet(rows: Sequence[FigureRow], heads: Sequence[str]) -> Image.Image:
    """Rows of images of one size, with a label before each row and a head above each column.

    Raises:
        ValueError: there are no images.
    """
    if not rows or not rows[0][1]:
        raise ValueError("a sheet needs at least one image")
    font = ImageFont.load_default(TEXT)
    width, height = scaled_size(rows[0][1][0].size)
    lines = [text for name, _ in rows for text in name.split("\n")]
    margin = int(max(font.getlength(text) for text in lines)) + 3 * GAP
    top = TEXT + 2 * GAP if any(heads) else GAP
    columns = max(len(images) for _, images in rows)
    size = margin + columns * (width + GAP), top + len(rows) * (height + GAP)
    paper = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(paper)
    for column, head in enumerate(heads):
        middle = margin + column * (width + GAP) + width / 2
        draw.text((middle, GAP), shorten(head, font, width), INK, font, anchor="ma")
    for number, (name, images) in enumerate(rows):
        above = top + number * (height + GAP)
        draw.multiline_text((GAP, above + height / 2), name, INK, font, anchor="lm", spacing=5)
        for column, image in enumerate(images):
            corner = margin + column * (width + GAP), above
            paper.paste(scaled(image.convert("RGB"), (width, height)), corner)
    return paper

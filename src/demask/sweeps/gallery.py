"""Pictures of pictures: the same seeds under several settings, and one picture guessed in one step.

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
from demask.conditioning import Wish
from demask.data.transforms import to_tensor
from demask.generator import Generator
from demask.sampling.decode import last
from demask.sampling.edit import Canvas, image_to_image

GAP, TEXT = 4, 14
PAPER, INK = (255, 255, 255), (60, 60, 60)
GREY = 128

Row = tuple[str, list[Image.Image]]
"""What is written in front of some pictures, a line or two, and the pictures."""


@dataclass(frozen=True)
class Variant:
    """A row of a comparison.

    Attributes:
        name: written in front of it.
        settings: what differs from the model's own.
    """

    name: str
    settings: Mapping[str, Any]


def same_seeds(
    generator: Generator,
    variants: Sequence[Variant],
    conditions: Wish | Sequence[Wish] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
) -> Image.Image:
    """Each variant a row, each seed a column (as arXiv 2410.13136, figure 1).

    Raises:
        ValueError: no variant, or settings that the model cannot paint under.
    """
    if not variants:
        raise ValueError("nothing to compare: name at least one variant")
    for variant in variants:
        generator.jobs(conditions, num_images, seed, **variant.settings)
    rows, heads = list[Row](), list[str]()
    for variant in variants:
        pictures = generator.generate(conditions, num_images, seed, **variant.settings)
        heads = [picture.prompt for picture in pictures]
        rows.append((variant.name, [picture.image for picture in pictures]))
    return sheet(rows, heads)


def one_step(
    generator: Generator,
    images: Sequence[Image.Image],
    wishes: Sequence[Wish],
    methods: Sequence[str],
    scale: float = 2.0,
    hidden: float = 0.9,
    seed: int = 0,
) -> Image.Image:
    """Pictures of which most tokens are hidden, guessed in one step (arXiv 2410.13136, figure 2).

    Each guidance has two rows: its reference alone, and what it makes of it. All take the likeliest
    code of every hidden token, so that no chance is left between the rows.

    Args:
        generator: the model.
        images: of any size.
        wishes: what each shows.
        methods: guidances to compare.
        scale: of guidance.
        hidden: the fraction of the tokens to hide.
        seed: of the first picture's hidden tokens; the others count on.

    Raises:
        ValueError: no pictures, or a guidance that the model cannot offer.
    """
    if not images:
        raise ValueError("no pictures to hide tokens of")
    pixels_BCHW = torch.stack([to_tensor(image, generator.size) for image in images])
    with torch.inference_mode():
        ids_BHW = generator.tokenizer.encode(pixels_BCHW.to(generator.device))
    generators = rng.image_generators(range(seed, seed + len(images)))
    canvas = image_to_image(ids_BHW, hidden, generators, generator.transformer.mask_id)
    truth_BHWC = generator.pixels(ids_BHW.flatten(1), canvas.grid)
    rows = [
        ("picture", [Image.fromarray(p) for p in to_bytes(pixels_BCHW)]),
        ("its tokens", pictures_of(truth_BHWC)),
        (f"{hidden:.0%} hidden", pictures_of(greyed(truth_BHWC, canvas, generator))),
    ]
    names: dict[str, dict[str, Any]] = {"one step": {"guidance": 1.0}}
    for method in methods:
        guided = {"guidance_method": method, "guidance_schedule": "constant"}
        name = method.replace("_", " ")
        names[f"{name}: reference"] = {**guided, "guidance": 0.0}
        names[f"{name}: scale {scale:g}"] = {**guided, "guidance": scale}
    for name, settings in names.items():
        rows.append(guess(generator, name, canvas, ids_BHW, wishes, seed, settings))
    return sheet(rows, [])


def guess(
    generator: Generator,
    name: str,
    canvas: Canvas,
    ids_BHW: Tensor,
    wishes: Sequence[Wish],
    seed: int,
    settings: Mapping[str, Any],
) -> Row:
    """A row: all hidden tokens in one step, and how many of them are as they were."""
    plain = {"steps": 1, "temperature": 0.0, "top_k": 0, "top_p": 1.0, **settings}
    (job,) = generator.jobs(list(wishes), len(ids_BHW), seed, len(ids_BHW), **plain)
    state = last(generator.decode(job, canvas))
    right = (state.ids_BL == ids_BHW.flatten(1))[canvas.hidden_BL].double().mean()
    found = generator.pixels(state.ids_BL, canvas.grid)
    return f"{name}\n{float(right):.1%} of codes right", pictures_of(found)


def greyed(pixels_BHWC: Tensor, canvas: Canvas, generator: Generator) -> Tensor:
    """Pictures with grey where tokens are hidden."""
    hidden_BHW = canvas.hidden_BL.unflatten(1, canvas.grid).cpu()
    for dimension in (1, 2):
        hidden_BHW = hidden_BHW.repeat_interleave(generator.tokenizer.downsampling, dimension)
    return torch.where(hidden_BHW[..., None], GREY, pixels_BHWC).byte()


def to_bytes(image_BCHW: Tensor) -> Any:
    """Pictures in [0, 1] as an array of bytes (B, H, W, C)."""
    return (image_BCHW * 255).round().byte().permute(0, 2, 3, 1).numpy()


def pictures_of(pixels_BHWC: Tensor) -> list[Image.Image]:
    """Bytes -> pictures."""
    return [Image.fromarray(pixels_HWC) for pixels_HWC in pixels_BHWC.numpy()]


def sheet(rows: Sequence[Row], heads: Sequence[str]) -> Image.Image:
    """Rows of pictures of one size, with a name in front of each and a head above each column.

    Raises:
        ValueError: there is nothing to lay out.
    """
    if not rows or not rows[0][1]:
        raise ValueError("a sheet needs at least one picture")
    font = ImageFont.load_default(TEXT)
    width, height = scaled_size(rows[0][1][0].size)
    lines = [text for name, _ in rows for text in name.split("\n")]
    margin = int(max(font.getlength(text) for text in lines)) + 3 * GAP
    top = TEXT + 2 * GAP if any(heads) else GAP
    columns = max(len(pictures) for _, pictures in rows)
    size = margin + columns * (width + GAP), top + len(rows) * (height + GAP)
    paper = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(paper)
    for column, head in enumerate(heads):
        middle = margin + column * (width + GAP) + width / 2
        draw.text((middle, GAP), shorten(head, font, width), INK, font, anchor="ma")
    for number, (name, pictures) in enumerate(rows):
        above = top + number * (height + GAP)
        draw.multiline_text((GAP, above + height / 2), name, INK, font, anchor="lm", spacing=5)
        for column, picture in enumerate(pictures):
            corner = margin + column * (width + GAP), above
            paper.paste(scaled(picture.convert("RGB"), (width, height)), corner)
    return paper

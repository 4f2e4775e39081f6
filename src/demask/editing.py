"""Regenerate a part of an image, generate around it, or generate variations of it.

An image larger than the model's grid is decoded window by window; each window reads the tokens that
earlier windows have decoded (as MaskGIT extrapolates, arXiv 2202.04200, section 4.3). Where a model
takes several sizes, the settings ``width`` and ``height`` are the size of a window.

Edits act on positions: where a position has several tokens, all of them are masked or kept. Tokens
in their layout are (B, *dims), see `TokenLayout`.

Shape legend: B batch, C channels, H W rows and columns of tokens, Y X of pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from demask import rng
from demask.conditioning import ConditionInput
from demask.data.color import with_alpha
from demask.data.masks import read_mask
from demask.data.transforms import to_pixels
from demask.frame import Original, fill_frame
from demask.image import GeneratedImage
from demask.jobs import Job
from demask.layouts import GRIDS, Layouts, check_layout
from demask.pipeline import Pipeline
from demask.registry import shortened
from demask.sampling import edit
from demask.sampling.decode import decode
from demask.setting_info import whole_number
from demask.settings import SettingsKwargs
from demask.training_range import warn_of_other_images
from demask.types import DecodeState

EDITS = {"inpaint": GRIDS, "outpaint": GRIDS, "variations": Layouts((1, 2))}
"""The edits, with the layouts of tokens that they serve."""


def check_image(name: str, value: object) -> None:
    """Raise a ValueError for what is no PIL image, such as a path or an array."""
    if not isinstance(value, Image.Image):
        raise ValueError(
            f"{name} must be a PIL image, not {shortened(repr(value))}; see PIL.Image.open and "
            "PIL.Image.fromarray"
        )


def check_edit(generator: Pipeline, name: str) -> None:
    """Raise a ValueError for an edit that does not serve the layout of the model's tokens."""
    check_layout(generator.transformer.layout, "edit", name, EDITS)


def inpaint(
    generator: Pipeline,
    image: Image.Image,
    mask: Image.Image,
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
    feather: int | None = None,
    **settings: Unpack[SettingsKwargs],
) -> Iterator[GeneratedImage]:
    """The images of `Generator.inpaint`, one batch after the other.

    Raises:
        ValueError: a mask of another size or without white, an unknown class or setting.
    """
    edit_of = read_masked(generator, image, mask, feather, settings)
    todo = jobs(generator, conditions, num_images, seed, settings)
    return finished(decode_and_blend(generator, todo, *edit_of))


def read_masked(
    generator: Pipeline,
    image: Image.Image,
    mask: Image.Image,
    feather: int | None,
    settings: SettingsKwargs,
) -> tuple[Original, Tensor, int]:
    """The image, its mask (Y, X) and the soft edge; raises the errors of `inpaint`."""
    check_edit(generator, "inpaint")
    check_image("image", image)
    check_image("mask", mask)
    if feather is not None:
        feather = whole_number("feather", feather, 0)
    if mask.size != image.size:
        raise ValueError(
            f"the mask is {mask.width}x{mask.height} pixels, the image "
            f"{image.width}x{image.height}: they must be of one size"
        )
    mask_YX = torch.from_numpy(to_pixels(read_mask(mask))) >= 128
    if not mask_YX.any():
        raise ValueError("the mask has no white pixel: there is nothing to generate")
    original = Original.read(generator, image, settings)
    mask_YX = fill_frame(generator, mask_YX[None], settings)[0]
    feather = generator.tokenizer.downsampling // 2 if feather is None else feather
    return original, mask_YX, feather


def outpaint(
    generator: Pipeline,
    image: Image.Image,
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
    feather: int | None = None,
    **settings: Unpack[SettingsKwargs],
) -> Iterator[GeneratedImage]:
    """The images of `Generator.outpaint`, one batch after the other.

    Raises:
        ValueError: no margin or a negative one, an unknown class or setting.
    """
    check_edit(generator, "outpaint")
    check_image("image", image)
    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    margins = tuple(whole_number(side, pixels) for side, pixels in sides.items())
    if min(margins) < 0 or max(margins) == 0:
        raise ValueError(f"the margins are 0 pixels or more, and one is more, not {margins}")
    size = (image.width + left + right, image.height + top + bottom)
    layer = with_alpha(image)
    frame, mask = Image.new(layer.mode, size, "black"), Image.new("L", size, 255)
    frame.paste(layer, (left, top))
    mask.paste(0, (left, top, left + image.width, top + image.height))
    return inpaint(generator, frame, mask, conditions, num_images, seed, feather, **settings)


def variations(
    generator: Pipeline,
    image: Image.Image,
    strength: float,
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
    strength_of: str = "tokens",
    **settings: Unpack[SettingsKwargs],
) -> Iterator[GeneratedImage]:
    """The images of `Generator.variations`, one batch after the other.

    Raises:
        ValueError: a strength outside [0, 1] or of something else, a schedule that cannot start in
            the middle, an unknown class or setting.
    """
    original = read_varied(generator, image, strength, settings)
    sampler = generator.chosen(**settings).sampler
    first, share = edit.start_of(strength, strength_of, sampler.schedule, sampler.steps)
    todo = jobs(generator, conditions, num_images, seed, settings)
    return finished(vary(generator, todo, original, share, first))


def read_varied(
    generator: Pipeline, image: Image.Image, strength: float, settings: SettingsKwargs
) -> Original:
    """The image to vary; raises the errors of `variations`."""
    check_edit(generator, "variations")
    check_image("image", image)
    edit.check_strength(strength)
    return Original.read(generator, image, settings)


Progress = DecodeState | GeneratedImage
"""What an edit yields: the state of a window after each step, and finished images."""


def finished(progress: Iterator[Progress]) -> Iterator[GeneratedImage]:
    """The images alone."""
    return (each for each in progress if isinstance(each, GeneratedImage))


def vary(
    generator: Pipeline, todo: Iterator[Job], original: Original, strength: float, first: int = 0
) -> Iterator[Progress]:
    """Decode the variations, each with other tokens masked, from the step ``first`` on."""
    mask_YX = torch.ones(original.pixels_CYX.shape[1:], dtype=torch.bool)
    tokens_1 = tokens(generator, original, mask_YX)
    for job in todo:
        ids = tokens_1.expand(len(job.seeds), *tokens_1.shape[1:])
        generators = rng.image_generators(job.seeds)
        mask_id, parts = generator.transformer.mask_id, job.layout.parts
        canvas = edit.image_to_image(ids, strength, generators, mask_id, parts)
        filled = yield from fill_in(generator, job, canvas, generators, first)
        for image, generated_CYX in finish(generator, job, filled):
            yield replace(image, image=original.crop(generated_CYX))


def decode_and_blend(
    generator: Pipeline,
    todo: Iterator[Job],
    original: Original,
    mask_YX: Tensor,
    feather: int,
) -> Iterator[Progress]:
    """Decode the tokens under the mask, and blend the new pixels with the original."""
    masked_HW = edit.token_mask(mask_YX[None], generator.tokenizer.downsampling)[0]
    tokens_1 = tokens(generator, original, ~mask_YX)
    for job in todo:
        ids = tokens_1.expand(len(job.seeds), *tokens_1.shape[1:])
        known_BHW = (~masked_HW).expand(len(ids), -1, -1).to(ids.device)
        canvas = edit.keep(ids, known_BHW, generator.transformer.mask_id, job.layout.parts)
        generators = rng.image_generators(job.seeds)
        filled = yield from fill_in(generator, job, canvas, generators)
        for image, generated_CYX in finish(generator, job, filled):
            yield replace(image, image=original.blend(generated_CYX, mask_YX, feather))


def jobs(
    generator: Pipeline,
    conditions: ConditionInput | Sequence[ConditionInput],
    num_images: int | None,
    seed: int | Sequence[int],
    settings: SettingsKwargs,
) -> Iterator[Job]:
    """The batches of a request; without conditions, one image without a condition."""
    condition_inputs = [None] if conditions is None else conditions
    return generator.jobs(condition_inputs, num_images, seed, **settings)


def tokens(generator: Pipeline, original: Original, kept_YX: Tensor) -> Tensor:
    """The tokens of the original, (1, *dims), with a warning if what is kept is unlike training."""
    with torch.inference_mode():
        codes_1 = generator.tokenizer.encode(original.pixels_CYX[None].to(generator.device))
    warn_of_other_images(
        generator.name, generator.tokenizer_for(1), original.pixels_CYX, codes_1[0], kept_YX
    )
    transformer = generator.transformer
    return transformer.layout.split(codes_1, transformer.codebook_size)


def finish(
    generator: Pipeline, job: Job, canvas: edit.Canvas
) -> Iterator[tuple[GeneratedImage, Tensor]]:
    """The images of a batch, with their pixels (C, Y, X) in [0, 1]."""
    pixels_BYXC = generator.pixels(canvas.ids_BL, canvas.layout, generator.job_condition(job))
    images = generator.framed(job, pixels_BYXC)
    for image, pixels_YXC in zip(images, pixels_BYXC, strict=True):
        yield image, pixels_YXC.permute(2, 0, 1) / 255


def fill_in(
    generator: Pipeline,
    job: Job,
    canvas: edit.Canvas,
    generators: rng.Generators,
    first: int = 0,
) -> Generator[DecodeState, None, edit.Canvas]:
    """Decode the canvas window by window; yields the state after each step, returns the canvas.

    A window makes the fraction of the steps that is the fraction of its masked tokens, at least 1;
    or all steps from ``first`` on.
    """
    ids = canvas.ids_BL.unflatten(1, canvas.layout.dims).clone()
    known = canvas.known_BL.unflatten(1, canvas.layout.dims).clone()
    predict, condition = generator.guided(job.settings), generator.job_condition(job)
    sampler = generator.sampler(job.settings)
    for spans in windows(canvas.layout.shape, job.layout.shape):
        inside = (slice(None), *spans)
        part = edit.keep(ids[inside], known[inside], canvas.mask_id, canvas.layout.parts)
        num_masked = int(part.masked_BL.sum(-1).max())
        if not num_masked:
            continue
        steps = math.ceil(sampler.steps * num_masked / part.masked_BL.shape[1])
        share = sampler if first else replace(sampler, steps=max(steps, 1))
        for state in decode(predict, condition, part, generators, share, first):
            yield state
        ids[inside] = state.ids_BL.view_as(ids[inside])
        known[inside] = True
    return replace(canvas, ids_BL=ids.flatten(1), known_BL=known.flatten(1))


def windows(shape: tuple[int, ...], window: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Windows that cover the positions, row by row; each overlaps the previous one by half."""
    spans = []
    for length, size in zip(shape, window, strict=True):
        last = max(length - size, 0)
        starts = sorted({*range(0, last, max(size // 2, 1)), last})
        spans.append([slice(start, start + size) for start in starts])
    return list(itertools.product(*spans))

"""Regenerate a part of an image, generate around it, or generate variations of it.

An image larger than the model's grid is decoded window by window; each window reads the tokens that
earlier windows have decoded (as MaskGIT extrapolates, arXiv 2202.04200, section 4.3). Where a model
takes several sizes, the settings ``width`` and ``height`` are the size of a window.

Shape legend: B batch, C channels, H W rows and columns of tokens, Y X of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from demask import rng
from demask.conditioning import ConditionInput
from demask.data.color import to_rgb
from demask.data.masks import read_mask
from demask.data.transforms import to_image, to_pixels
from demask.image import GeneratedImage
from demask.jobs import Job
from demask.pipeline import Pipeline
from demask.registry import shortened
from demask.sampling import edit
from demask.sampling.decode import decode
from demask.setting_info import whole_number
from demask.settings import SettingsKwargs
from demask.types import DecodeState


@dataclass(frozen=True)
class Original:
    """The image to edit, extended to whole tokens and at least to the size of a window.

    Attributes:
        pixels_CYX: in [0, 1], extended by mirroring.
        height: of the image itself.
        width: of the image itself.
    """

    pixels_CYX: Tensor
    height: int
    width: int

    @staticmethod
    def read(generator: Pipeline, image: Image.Image, settings: SettingsKwargs) -> Original:
        """Extend an image to its frame."""
        pixels_CYX = torch.from_numpy(to_pixels(to_rgb(image))).permute(2, 0, 1) / 255
        frame_CYX = fill_frame(generator, pixels_CYX, settings)
        return Original(frame_CYX, image.height, image.width)

    def crop(self, pixels_CYX: Tensor) -> Image.Image:
        """Crop a frame to the size of the image."""
        return to_image(pixels_CYX[:, : self.height, : self.width])


def check_image(name: str, value: object) -> None:
    """Raise a ValueError for what is no PIL image, such as a path or an array."""
    if not isinstance(value, Image.Image):
        raise ValueError(
            f"{name} must be a PIL image, not {shortened(repr(value))}; see PIL.Image.open and "
            "PIL.Image.fromarray"
        )


def fill_frame(generator: Pipeline, pixels_CYX: Tensor, settings: SettingsKwargs) -> Tensor:
    """Extend an image by mirroring, to the next size that the model can generate.

    Raises:
        ValueError: an unknown setting, or a width or height that the model cannot generate.
    """
    step = generator.multiple
    size = generator.pixels_of(generator.grid_of(generator.chosen(**settings)))
    for dimension, least in zip((-2, -1), size, strict=True):
        length = pixels_CYX.shape[dimension]
        wanted = max(least, math.ceil(length / step) * step)
        bounce = torch.arange(wanted) % (2 * length)
        index = torch.minimum(bounce, 2 * length - 1 - bounce)
        pixels_CYX = pixels_CYX.index_select(dimension, index)
    return pixels_CYX


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
    check_image("image", image)
    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    margins = tuple(whole_number(side, pixels) for side, pixels in sides.items())
    if min(margins) < 0 or max(margins) == 0:
        raise ValueError(f"the margins are 0 pixels or more, and one is more, not {margins}")
    size = (image.width + left + right, image.height + top + bottom)
    frame, mask = Image.new("RGB", size), Image.new("L", size, 255)
    frame.paste(to_rgb(image), (left, top))
    mask.paste(0, (left, top, left + image.width, top + image.height))
    return inpaint(generator, frame, mask, conditions, num_images, seed, feather, **settings)


def variations(
    generator: Pipeline,
    image: Image.Image,
    strength: float,
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int | None = None,
    seed: int | Sequence[int] = 0,
    **settings: Unpack[SettingsKwargs],
) -> Iterator[GeneratedImage]:
    """The images of `Generator.variations`, one batch after the other.

    Raises:
        ValueError: a strength outside [0, 1], an unknown class or setting.
    """
    original = read_varied(generator, image, strength, settings)
    return finished(
        vary(generator, jobs(generator, conditions, num_images, seed, settings), original, strength)
    )


def read_varied(
    generator: Pipeline, image: Image.Image, strength: float, settings: SettingsKwargs
) -> Original:
    """The image to vary; raises the errors of `variations`."""
    check_image("image", image)
    edit.check_strength(strength)
    return Original.read(generator, image, settings)


Progress = DecodeState | GeneratedImage  # the state of a window after each step; finished images


def finished(progress: Iterator[Progress]) -> Iterator[GeneratedImage]:
    """The images alone."""
    return (each for each in progress if isinstance(each, GeneratedImage))


def vary(
    generator: Pipeline, todo: Iterator[Job], original: Original, strength: float
) -> Iterator[Progress]:
    """Decode the variations, each with other tokens masked."""
    for job in todo:
        ids_BHW = tokens(generator, original, len(job.seeds))
        generators = rng.image_generators(job.seeds)
        mask_id = generator.transformer.mask_id
        canvas = edit.image_to_image(ids_BHW, strength, generators, mask_id)
        generated_BHW = yield from fill_in(generator, job, canvas, generators)
        for image, generated_CYX in finish(generator, job, generated_BHW):
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
    for job in todo:
        ids_BHW = tokens(generator, original, len(job.seeds))
        known_BHW = (~masked_HW).expand_as(ids_BHW).to(ids_BHW.device)
        canvas = edit.keep(ids_BHW, known_BHW, generator.transformer.mask_id)
        steps = fill_in(generator, job, canvas, rng.image_generators(job.seeds))
        for image, generated_CYX in finish(generator, job, (yield from steps)):
            blended_BCYX = edit.blend(
                original.pixels_CYX[None], generated_CYX[None], mask_YX[None], feather
            )
            yield replace(image, image=original.crop(blended_BCYX[0]))


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


def tokens(generator: Pipeline, original: Original, count: int) -> Tensor:
    """The ids of the original, (B, H, W) with B = ``count``."""
    pixels_BCYX = original.pixels_CYX[None].to(generator.device)
    with torch.inference_mode():
        return generator.tokenizer.encode(pixels_BCYX).repeat(count, 1, 1)


def finish(
    generator: Pipeline, job: Job, ids_BHW: Tensor
) -> Iterator[tuple[GeneratedImage, Tensor]]:
    """The images of a batch, with their pixels (C, Y, X) in [0, 1]."""
    grid = (ids_BHW.shape[1], ids_BHW.shape[2])
    pixels_BYXC = generator.pixels(ids_BHW.flatten(1), grid)
    images = generator.framed(job, pixels_BYXC)
    for image, pixels_YXC in zip(images, pixels_BYXC, strict=True):
        yield image, pixels_YXC.permute(2, 0, 1) / 255


def fill_in(
    generator: Pipeline, job: Job, canvas: edit.Canvas, generators: rng.Generators
) -> Generator[DecodeState, None, Tensor]:
    """Decode the canvas window by window; yields the state after each step, returns (B, H, W).

    A window makes the fraction of the steps that is the fraction of its masked tokens, at least 1.
    """
    ids_BHW = canvas.ids_BL.unflatten(1, canvas.grid).clone()
    known_BHW = canvas.known_BL.unflatten(1, canvas.grid).clone()
    predict, condition = generator.guided(job.settings), generator.job_condition(job)
    sampler = generator.sampler(job.settings)
    for rows, columns in windows(canvas.grid, job.grid):
        window = ids_BHW[:, rows, columns]
        part = edit.keep(window, known_BHW[:, rows, columns], canvas.mask_id)
        num_masked = int(part.masked_BL.sum(-1).max())
        if not num_masked:
            continue
        steps = math.ceil(sampler.steps * num_masked / part.masked_BL.shape[1])
        share = replace(sampler, steps=max(steps, 1))
        for state in decode(predict, condition, part, generators, share):
            yield state
        ids_BHW[:, rows, columns] = state.ids_BL.view_as(window)
        known_BHW[:, rows, columns] = True
    return ids_BHW


def windows(grid: tuple[int, int], window: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Windows that cover the grid row by row; each overlaps the previous one by half."""
    spans = []
    for length, size in zip(grid, window, strict=True):
        last = max(length - size, 0)
        starts = sorted({*range(0, last, max(size // 2, 1)), last})
        spans.append([slice(start, start + size) for start in starts])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]

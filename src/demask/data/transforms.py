"""Images <-> tensors: crop, resize, flip and shift; values in [0, 1].

Shape legend: B batch, C channels, H W rows and columns of pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Size = int | tuple[int, int]
"""Side of a square, or height and width, in pixels."""


def to_pixels(image: Image.Image) -> np.ndarray:
    """A copy of an image's pixels, (H, W), (H, W, 3) or (H, W, 4) uint8."""
    return np.array(image, dtype=np.uint8)


def to_tensor(image: Image.Image, size: Size) -> Tensor:
    """The largest centre crop of the shape of ``size``, resized to it, (3, H, W) in [0, 1]."""
    pixels_HWC = torch.from_numpy(to_pixels(cover(image.convert("RGB"), *sides(size))))
    return pixels_HWC.permute(2, 0, 1).contiguous().float() / 255


def to_image(image_CHW: Tensor) -> Image.Image:
    """(3, H, W), or (4, H, W) with alpha, in [0, 1] -> an image; values are clipped."""
    pixels_CHW = image_CHW.detach().float().cpu().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels_CHW.permute(1, 2, 0).contiguous().numpy())


def psnr(before: np.ndarray, after: np.ndarray, peak: float) -> float:
    """Peak signal-to-noise ratio of pixels up to ``peak`` in dB; infinite where they are equal."""
    error = float(np.mean((before.astype(np.float64) - after.astype(np.float64)) ** 2))
    return 10 * math.log10(peak**2 / error) if error else math.inf


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centre crop of that shape, resized to ``height`` and ``width`` in pixels.

    The filter is Lanczos with antialiasing.
    """
    left, top, right, bottom = box = centre_box(image.size, height, width)
    if image.size != (right - left, bottom - top):
        # crop first: resize(box=...) reads pixels outside of the box
        image = image.crop(box)
    whole = image.size == (width, height)
    return image if whole else image.resize((width, height), Image.Resampling.LANCZOS)


def centre_box(size: tuple[int, int], height: int, width: int) -> tuple[int, int, int, int]:
    """The largest centre crop of that shape: left, top, right and bottom.

    Args:
        size: width and height of an image, in pixels.
        height: height of the shape; only its ratio to ``width`` counts.
        width: width of the shape.
    """
    across = min(size[0], max(1, round(size[1] * width / height)))
    down = min(size[1], max(1, round(size[0] * height / width)))
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    return left, top, left + across, top + down


def random_view(
    image: Image.Image, size: Size, flip: bool, shift: int, generator: torch.Generator
) -> Tensor:
    """`to_tensor`, then a random flip and a random shift.

    Consumes the same number of random numbers for all options.

    Args:
        image: any image.
        size: size of the result.
        flip: whether to flip horizontally with probability 0.5.
        shift: maximum shift in pixels in each direction; the border is mirrored.
        generator: random generator.

    Returns:
        (3, H, W) in [0, 1].
    """
    mirrored, down, right = torch.rand(3, generator=generator).tolist()
    image_CHW = to_tensor(image, size)
    if flip and mirrored < 0.5:
        image_CHW = image_CHW.flip(-1)
    if not shift:
        return image_CHW
    height, width = sides(size)
    top, left = int(down * (2 * shift + 1)), int(right * (2 * shift + 1))
    padded_CHW = F.pad(image_CHW[None], (shift,) * 4, mode="reflect")[0]
    return padded_CHW[:, top : top + height, left : left + width].contiguous()


def moved(
    image_BCHW: Tensor, shift: int, down_B: Tensor, right_B: Tensor, border: str = "reflect"
) -> Tensor:
    """Shift each image of a batch by up to ``shift`` pixels.

    Args:
        image_BCHW: the images.
        shift: maximum shift in pixels in each direction.
        down_B: uniform numbers in [0, 1) that determine the vertical shift.
        right_B: those that determine the horizontal shift.
        border: how the gaps are filled: ``reflect`` or ``replicate``, as in `F.pad`.

    Returns:
        (B, C, H, W), in the channels-last memory format.
    """
    batch, _, height, width = image_BCHW.shape
    padded_BCHW = F.pad(image_BCHW, (shift,) * 4, mode=border)
    top_B, left_B = ((part_B * (2 * shift + 1)).long() for part_B in (down_B, right_B))
    rows_BH1 = (top_B[:, None] + torch.arange(height))[:, :, None]
    columns_B1W = (left_B[:, None] + torch.arange(width))[:, None, :]
    which_B11 = torch.arange(batch)[:, None, None]
    moved_BHWC = padded_BCHW.permute(0, 2, 3, 1)[which_B11, rows_BH1, columns_B1W]
    return moved_BHWC.permute(0, 3, 1, 2)

"""Pictures <-> tensors: cut to a square, mirrored or moved at random, as numbers in [0, 1].

Shape legend: C channels, H W rows and columns of pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def to_pixels(image: Image.Image) -> np.ndarray:
    """The bytes of a picture, (H, W) or (H, W, 3) uint8, as an array of its own."""
    return np.array(image, dtype=np.uint8)


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """The largest centred square of a picture, resampled, as (3, size, size) in [0, 1]."""
    pixels_HWC = torch.from_numpy(to_pixels(centre_square(image.convert("RGB"), size)))
    return pixels_HWC.permute(2, 0, 1).contiguous().float() / 255


def to_image(image_CHW: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> a picture; what lies outside the range is clipped."""
    pixels_CHW = image_CHW.detach().float().cpu().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels_CHW.permute(1, 2, 0).contiguous().numpy())


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square, resampled to ``size`` pixels a side.

    Lanczos with support scaled to the reduction, so that nothing aliases.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:
        # cut first: resize(box=...) would let in what lies outside the box
        image = image.crop((left, top, left + side, top + side))
    return image if side == size else image.resize((size, size), Image.Resampling.LANCZOS)


def random_view(
    image: Image.Image, size: int, flip: bool, shift: int, generator: torch.Generator
) -> Tensor:
    """`to_tensor`, then mirrored half of the time and moved, as ``generator`` decides.

    Always takes the same number of draws, so that one picture's options never change another's.

    Args:
        image: any picture.
        size: side of the result in pixels.
        flip: whether it may be mirrored.
        shift: it moves by up to this many pixels each way; its mirror image fills the gap.
        generator: the source of chance.

    Returns:
        (3, size, size) in [0, 1].
    """
    mirrored, down, right = torch.rand(3, generator=generator).tolist()
    image_CHW = to_tensor(image, size)
    if flip and mirrored < 0.5:
        image_CHW = image_CHW.flip(-1)
    if not shift:
        return image_CHW
    top, left = int(down * (2 * shift + 1)), int(right * (2 * shift + 1))
    padded_CHW = F.pad(image_CHW[None], (shift,) * 4, mode="reflect")[0]
    return padded_CHW[:, top : top + size, left : left + size].contiguous()

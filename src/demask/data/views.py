"""Views: crops, flips and shifts of images before tokenisation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from PIL.Image import Image
from torch import Tensor

from demask import rng
from demask.data.transforms import centre_box, random_view, to_tensor
from demask.layouts import PLAIN_GRIDS, image_size
from demask.types import Tokenizer, Transformer


@dataclass(frozen=True)
class Views:
    """Which views of each image are tokenised.

    Attributes:
        size: side of the square crop, in pixels.
        count: number of views: the plain one, its mirror image if ``flip``, then random ones.
        flip: whether mirror images are valid (not for text or hands).
        shift: maximum shift of random views, in pixels.
        buckets: heights and widths in pixels, instead of the square; an image is cropped to the
            bucket of the nearest aspect ratio. The first is the main one.
    """

    size: int
    count: int = 2
    flip: bool = True
    shift: int = 0
    buckets: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")
        named = ", ".join(f"{height} x {width}" for height, width in self.buckets)
        if any(side < 1 for bucket in self.buckets for side in bucket):
            raise ValueError(f"the sides of buckets must be at least 1, not {named}")
        if len({height / width for height, width in self.buckets}) < len(self.buckets):
            raise ValueError(f"two buckets have the same aspect ratio: {named}")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The heights and widths, in pixels, to which images are cropped and resized."""
        return self.buckets or ((self.size, self.size),)

    def bucket_of(self, image: Image) -> int:
        """The index in `sizes` of the aspect ratio that is nearest to an image's."""
        ratio = math.log(image.height / image.width)
        distances = [abs(ratio - math.log(height / width)) for height, width in self.sizes]
        return distances.index(min(distances))

    def view(self, image: Image, index: int, number: int) -> Tensor:
        """View ``number`` of image ``index``, (3, H, W) in [0, 1]; a function of both numbers."""
        size = self.sizes[self.bucket_of(image)]
        plain = to_tensor(image, size)
        if number == 0:
            return plain
        if number == 1 and self.flip:
            return plain.flip(-1)
        generator = torch.Generator().manual_seed(rng.derive(index, "view", number))
        return random_view(image, size, self.flip, self.shift, generator)

    def micro(self, image: Image) -> tuple[float, float, float, float]:
        """Micro-conditions of the plain view: width, height, crop top and crop left.

        Width and height are the original ones, at most those of the crop; smaller values mean an
        upscaled image. Crop top and left are the pixels cut off above and on the left, after
        resizing (SDXL, arXiv 2307.01952, section 2.2).
        """
        height, width = self.sizes[self.bucket_of(image)]
        left, top, right, bottom = centre_box(image.size, height, width)
        above, beside = top * height / (bottom - top), left * width / (right - left)
        return min(image.width, width), min(image.height, height), round(above), round(beside)

    def facts(self) -> dict[str, object]:
        """The settings that identify these views, without unused ones."""
        return {name: value for name, value in asdict(self).items() if value != ()}


@dataclass(frozen=True)
class ModelViews(Views):
    """`Views` for the training of an auxiliary network; size 0 is that of the model's images."""

    size: int = 0
    count: int = 1
    flip: bool = False

    def of(self, transformer: Transformer, tokenizer: Tokenizer) -> Views:
        """These views, with the size of the model's images if ``size`` is 0.

        Raises:
            ValueError: the model's tokens are no grid, or parts of positions.
        """
        if not PLAIN_GRIDS.serve(transformer.layout):
            raise ValueError(
                f"the training of a network beside a model needs {PLAIN_GRIDS}, but the tokens "
                f"of this model are {transformer.layout}"
            )
        if self.size or self.buckets:
            return self
        height, width = image_size(tokenizer, transformer.layout)
        return replace(self, size=width, buckets=() if height == width else ((height, width),))

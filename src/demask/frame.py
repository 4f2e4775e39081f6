"""The image to edit, in a frame of a size that a model can generate.

Shape legend: C channels, Y X rows and columns of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from demask.data.color import to_rgb, with_alpha
from demask.data.transforms import to_image, to_pixels
from demask.pipeline import Pipeline
from demask.sampling import edit
from demask.settings import SettingsKwargs


@dataclass(frozen=True)
class Original:
    """The image to edit, extended to whole tokens and at least to the size of a window.

    Attributes:
        pixels_CYX: in [0, 1], extended by mirroring; transparent parts are on white.
        kept_CYX: the same with a fourth channel, alpha, if a part of the image is transparent: the
            pixels that an edit keeps.
        height: of the image itself.
        width: of the image itself.
    """

    pixels_CYX: Tensor
    kept_CYX: Tensor
    height: int
    width: int

    @staticmethod
    def read(generator: Pipeline, image: Image.Image, settings: SettingsKwargs) -> Original:
        """Extend an image to its frame."""
        flat_CYX, kept_CYX = (
            fill_frame(
                generator, torch.from_numpy(to_pixels(layer)).permute(2, 0, 1) / 255, settings
            )
            for layer in (to_rgb(image), with_alpha(image))
        )
        return Original(flat_CYX, kept_CYX, image.height, image.width)

    def blend(self, generated_CYX: Tensor, mask_YX: Tensor, feather: int) -> Image.Image:
        """Blend opaque new pixels with those of the image; see `demask.sampling.edit.blend`."""
        alpha_1YX = torch.ones_like(generated_CYX[:1])
        opaque_CYX = torch.cat([generated_CYX, alpha_1YX])[: len(self.kept_CYX)]
        blended_BCYX = edit.blend(self.kept_CYX[None], opaque_CYX[None], mask_YX[None], feather)
        return with_alpha(self.crop(blended_BCYX[0]))

    def crop(self, pixels_CYX: Tensor) -> Image.Image:
        """Crop a frame to the size of the image."""
        return to_image(pixels_CYX[:, : self.height, : self.width])


def fill_frame(generator: Pipeline, pixels_CYX: Tensor, settings: SettingsKwargs) -> Tensor:
    """Extend an image by mirroring, to the next size that the model can generate.

    Raises:
        ValueError: an unknown setting, a width or height that the model cannot generate, or an
            image larger than a model whose tokens are no grid.
    """
    step = generator.multiple
    layout = generator.layout_of(generator.chosen(**settings))
    size = generator.pixels_of(layout)
    height, width = pixels_CYX.shape[1:]
    if len(layout.shape) != 2 and (height > size[0] or width > size[1]):
        raise ValueError(
            f"an image of {width}x{height} pixels: the tokens of this model are {layout}, which "
            f"hold at most {size[1]}x{size[0]} pixels"
        )
    for dimension, least in zip((-2, -1), size, strict=True):
        length = pixels_CYX.shape[dimension]
        wanted = max(least, math.ceil(length / step) * step)
        bounce = torch.arange(wanted) % (2 * length)
        index = torch.minimum(bounce, 2 * length - 1 - bounce)
        pixels_CYX = pixels_CYX.index_select(dimension, index)
    return pixels_CYX

"""The interface of image data sets, and decoding of images."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageOps

from demask.data.color import to_rgb, with_alpha
from demask.data.masks import read_mask
from demask.fingerprint import fingerprint


@dataclass(frozen=True)
class ImageSample:
    """One image of a data set.

    Attributes:
        image: RGB, in its original size.
        label: class number, an index of `ImageDataset.class_names`.
        name: where the image comes from, for messages.
        captions: the main caption, then alternatives; empty if there are none.
        score: preference score on the scale of the source, or None.
    """

    image: Image.Image
    label: int
    name: str
    captions: tuple[str, ...] = ()
    score: float | None = None


class ImageDataset(Protocol):
    """Images in a fixed order, read on access."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies these images in this order, for caches."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ImageSample:
        """Read an image; raises `UnreadableImageError` if it cannot be read."""
        ...


@dataclass(frozen=True)
class Subset:
    """A subset of a data set, in the order of ``indices``."""

    images: ImageDataset
    indices: Sequence[int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the whole data set."""
        return self.images.class_names

    @property
    def fingerprint(self) -> str:
        """A hash of the data set's fingerprint and the indices."""
        return fingerprint(self.images.fingerprint, *self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> ImageSample:
        return self.images[self.indices[index]]


class UnreadableImageError(ValueError):
    """An image cannot be read; the message names it."""


def read_image(data: bytes | None, name: str) -> Image.Image:
    """Decode bytes (PNG, JPEG, WebP, ...) to an upright 8-bit sRGB image.

    Transparent parts are composed on white. ``name`` is the image's name in messages.

    Raises:
        UnreadableImageError: empty, broken or unknown data, or more pixels than Pillow's limit
            against decompression bombs.
    """
    return decoded(data, name, to_rgb)


def read_layer(data: bytes | None, name: str) -> Image.Image:
    """Encoded bytes -> an upright sRGB image that keeps its transparent parts; see `read_image`.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    return decoded(data, name, with_alpha)


def read_mask_bytes(data: bytes | None, name: str) -> Image.Image:
    """Decode bytes to an edit mask; see `demask.data.masks.read_mask`.

    Raises:
        UnreadableImageError: as `read_image`.
        ValueError: an ambiguous mask.
    """
    return read_mask(decoded(data, name, Image.Image.copy), name)


def decoded(
    data: bytes | None, name: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Decode bytes to an upright image and convert it; see `read_image`."""
    if not data:
        raise UnreadableImageError(f"{name}: empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} is over {limit} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            return convert(image)
    # decoders raise many types of errors on broken data
    except Exception as error:
        # Pillow's message contains the buffer's address
        reason = re.sub(r" ?<_io\.BytesIO object at \w+>", "", " ".join(str(error).split()))
        raise UnreadableImageError(f"{name}: {reason[:120] or type(error).__name__}") from error

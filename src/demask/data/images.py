"""What a source of images is, and how the bytes of one become pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageOps

from demask.fingerprint import fingerprint


@dataclass(frozen=True)
class ImageSample:
    """One image and what it shows.

    Attributes:
        image: RGB, at its own size.
        label: its class, a position in `ImageDataset.class_names`.
        name: where it came from, for messages.
        captions: what it shows in words, where the source knows: the main caption, then others
            that would do as well.
        score: how much people like it, on a scale of the source's own; None where it is not known.
    """

    image: Image.Image
    label: int
    name: str
    captions: tuple[str, ...] = ()
    score: float | None = None


class ImageDataset(Protocol):
    """Images in a fixed order, each read from its source when it is asked for."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names exactly these images in this order: a cache made of others has another."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ImageSample:
        """Read an image; an `UnreadableImageError` if that fails."""
        ...


@dataclass(frozen=True)
class Subset:
    """Some images of a source, in the order of ``indices``."""

    images: ImageDataset
    indices: Sequence[int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the source, whether or not an image of each is left."""
        return self.images.class_names

    @property
    def fingerprint(self) -> str:
        """The source's, and which images were taken."""
        return fingerprint(self.images.fingerprint, *self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> ImageSample:
        return self.images[self.indices[index]]


class UnreadableImageError(ValueError):
    """The bytes of an image are no image that can be read; the message names it."""


def read_image(data: bytes | None, name: str) -> Image.Image:
    """Encoded bytes (PNG, JPEG, WebP, ...) -> an upright RGB image, on white where transparent.

    Raises:
        UnreadableImageError: no bytes, broken or unknown bytes, or more pixels than Pillow's
            limit against decompression bombs allows.
    """
    if not data:
        raise UnreadableImageError(f"{name}: empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} is over {limit} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    # whatever broken bytes make a decoder raise, the image is unreadable and nothing worse
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableImageError(f"{name}: {reason}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as RGB: transparency is composed on white, 16-bit greys keep their range."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")

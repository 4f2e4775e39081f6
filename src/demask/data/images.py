"""What a source of images is, and how the bytes of one become pixels."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageOps

from demask.data.color import to_rgb
from demask.data.masks import read_mask


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
    """Encoded bytes (PNG, JPEG, WebP, ...) -> an upright sRGB image, on white where transparent.

    Raises:
        UnreadableImageError: no bytes, broken or unknown bytes, or more pixels than Pillow's
            limit against decompression bombs allows.
    """
    return decoded(data, name, to_rgb)


def read_mask_bytes(data: bytes | None, name: str) -> Image.Image:
    """Encoded bytes -> an edit mask, as `demask.data.masks.read_mask` reads it.

    Raises:
        UnreadableImageError: as `read_image`.
        ValueError: a mask that could be read in two ways.
    """
    return read_mask(decoded(data, name, Image.Image.copy), name)


def decoded(
    data: bytes | None, name: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Encoded bytes -> the upright image, converted while its file is open; see `read_image`."""
    if not data:
        raise UnreadableImageError(f"{name}: empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} is over {limit} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            return convert(image)
    # whatever broken bytes make a decoder raise, the image is unreadable and nothing worse
    except Exception as error:
        # Pillow names the buffer, which means nothing to a person
        reason = re.sub(r" ?<_io\.BytesIO object at \w+>", "", " ".join(str(error).split()))
        raise UnreadableImageError(f"{name}: {reason[:120] or type(error).__name__}") from error


def fingerprint(*parts: object) -> str:
    """A short name for a sequence of facts; any other sequence has another."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()

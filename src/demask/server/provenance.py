"""Finished images as files that say how they were made."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from demask.data.color import to_rgb
from demask.generator import GeneratedImage
from demask.server.credentials import Credentials, facts_of, manifest


@dataclass(frozen=True)
class Provenance:
    """Writes the facts of an image into its file.

    Attributes:
        text: write prompt, seed, model and settings, and that it is generated, as text of a PNG,
            or as EXIF of a JPEG or WebP.
        credentials: signs a C2PA manifest with the same facts; None writes no manifest.
    """

    text: bool = True
    credentials: Credentials | None = None

    def png(self, image: GeneratedImage) -> bytes:
        """A finished image as the bytes of a PNG."""
        return self.file(image, "png")

    def file(self, image: GeneratedImage, kind: str, quality: int = 100) -> bytes:
        """A finished image as the bytes of a ``png``, ``jpeg`` or ``webp``; see `encode`."""
        plain = encode(image.image, image if self.text else None, kind, quality)
        if self.credentials is None:
            return plain
        title = f"{image.model}, seed {image.seed}"
        return self.credentials.sign(plain, manifest(title, facts_of(image), kind), kind)


def encode(
    image: Image.Image, source: GeneratedImage | None = None, kind: str = "png", quality: int = 100
) -> bytes:
    """An image as the bytes of a file, with the facts of ``source`` if it is given.

    Args:
        image: the pixels.
        source: the image that they are of.
        kind: ``png``, ``jpeg`` or ``webp``.
        quality: of a JPEG or WebP, 0 to 100; a PNG has no loss.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if kind == "jpeg":
        image = to_rgb(image)  # it has no transparency
    if kind != "png":
        options = {"quality": quality, "exif": exif(source) if source else b""}
    elif source:
        options = {"pnginfo": source.png_text()}
    image.save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def exif(source: GeneratedImage) -> Image.Exif:
    """The facts of an image as EXIF, which has no text of any name."""
    tags = Image.Exif()
    tags[ExifTags.Base.Software] = "Demask (generated image)"
    tags[ExifTags.Base.ImageDescription] = json.dumps(facts_of(source))
    return tags

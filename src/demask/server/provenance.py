"""Finished images as PNG files that say how they were made."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from demask.generator import GeneratedImage
from demask.server.credentials import Credentials, facts_of, manifest


@dataclass(frozen=True)
class Provenance:
    """Writes the facts of an image into its file.

    Attributes:
        text: write prompt, seed, model and settings, and that it is generated, as PNG text.
        credentials: signs a C2PA manifest with the same facts; None writes no manifest.
    """

    text: bool = True
    credentials: Credentials | None = None

    def png(self, image: GeneratedImage) -> bytes:
        """A finished image as the bytes of a PNG."""
        plain = encode(image.image, image if self.text else None)
        if self.credentials is None:
            return plain
        title = f"{image.model}, seed {image.seed}"
        return self.credentials.sign(plain, manifest(title, facts_of(image)))


def encode(image: Image.Image, source: GeneratedImage | None = None) -> bytes:
    """An image as the bytes of a PNG, with the facts of ``source`` if it is given."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=source.png_text() if source else None)
    return buffer.getvalue()

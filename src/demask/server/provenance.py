"""A finished image as the bytes of a PNG that says where it comes from."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from demask.generator import GeneratedImage
from demask.server.credentials import Credentials, facts_of, manifest


@dataclass(frozen=True)
class Provenance:
    """What is written into an image.

    Attributes:
        text: its prompt, seed, model and settings, and that it is generated, as PNG text.
        credentials: signs a C2PA manifest of the same facts; None for no manifest.
    """

    text: bool = True
    credentials: Credentials | None = None

    def png(self, image: GeneratedImage) -> bytes:
        """The finished image."""
        plain = encode(image.image, image if self.text else None)
        if self.credentials is None:
            return plain
        title = f"{image.model}, seed {image.seed}"
        return self.credentials.sign(plain, manifest(title, facts_of(image)))


def encode(image: Image.Image, source: GeneratedImage | None = None) -> bytes:
    """A PNG, with the facts of an image where it is told."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=source.png_text() if source else None)
    return buffer.getvalue()

"""A finished picture as the bytes of a PNG that says where it comes from."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from demask.generator import Picture
from demask.server.credentials import Credentials, facts_of, manifest


@dataclass(frozen=True)
class Provenance:
    """What is written into a picture.

    Attributes:
        text: its prompt, seed, model and settings, and that it is generated, as PNG text.
        credentials: signs a C2PA manifest of the same facts; None for no manifest.
    """

    text: bool = True
    credentials: Credentials | None = None

    def png(self, picture: Picture) -> bytes:
        """The finished picture."""
        plain = encode(picture.image, picture if self.text else None)
        if self.credentials is None:
            return plain
        title = f"{picture.model}, seed {picture.seed}"
        return self.credentials.sign(plain, manifest(title, facts_of(picture)))


def encode(image: Image.Image, told: Picture | None = None) -> bytes:
    """A PNG, with the facts of a picture where it is told."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=told.png_text() if told else None)
    return buffer.getvalue()

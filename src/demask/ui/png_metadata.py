"""Read the settings of an image from its PNG file."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from demask import rng
from demask.old_names import current_settings
from demask.settings import Settings, settings_from

MAX_BYTES = 6 * 2**20

MAX_TEXT = 64 * 1024
"""The longest text chunk; those of Demask have a few hundred bytes."""


@dataclass(frozen=True)
class Facts:
    """The facts in the file of an image.

    Attributes:
        model: the name of the model.
        prompt: the prompt or the class name.
        seed: the seed of its random generator.
        settings: the settings that it was generated with.
    """

    model: str
    prompt: str
    seed: int
    settings: Settings


def read_facts(data: bytes) -> Facts:
    """Read the text chunks that `GeneratedImage.png_text` writes.

    Raises:
        ValueError: the data is no PNG, or a PNG without the facts.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()  # text chunks may follow the pixels
            text: Mapping[str, Any] = getattr(image, "text", {})
    except Exception as error:  # decoders raise exceptions of any type on untrusted data
        raise ValueError("this is no PNG that can be read") from error
    missing = [name for name in ("model", "prompt", "seed", "settings") if name not in text]
    if missing:
        raise ValueError("this PNG holds no settings of Demask; was it saved by another program?")
    if max(len(str(text[name])) for name in ("model", "prompt", "seed", "settings")) > MAX_TEXT:
        raise ValueError("the settings in this PNG are too long")
    try:
        seed = int(text["seed"])
        rng.check_seed(seed)
        settings = settings_from(current_settings(json.loads(text["settings"])))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the settings in this PNG cannot be read: {error}") from error
    return Facts(str(text["model"]), str(text["prompt"]), seed, settings)


def from_address(address: object) -> bytes:
    """The bytes of a data URL.

    Raises:
        ValueError: the text is no data URL, or too long.
    """
    head, comma, body = str(address or "").partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("no image was received")
    if len(body) * 3 // 4 > MAX_BYTES:
        raise ValueError(f"the image is larger than {MAX_BYTES // 2**20} MB")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError("the image was not received completely") from error

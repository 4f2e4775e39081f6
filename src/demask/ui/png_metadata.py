"""The settings in an image's file, to generate it again."""

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

MOST_BYTES = 6 * 2**20
MOST_TEXT = 64 * 1024  # of a chunk; ours hold a few hundred bytes


@dataclass(frozen=True)
class Facts:
    """What an image's file says of it.

    Attributes:
        model: the model's name.
        prompt: words, or a class name.
        seed: of its random generator.
        settings: how it was sampled.
    """

    model: str
    prompt: str
    seed: int
    settings: Settings


def read_facts(data: bytes) -> Facts:
    """Read the text chunks that `GeneratedImage.png_text` writes.

    Raises:
        ValueError: no PNG, or not one of ours.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()  # some writers put the text behind the pixels
            text: Mapping[str, Any] = getattr(image, "text", {})
    except Exception as error:  # a decoder fed with anything raises anything
        raise ValueError("this is no PNG that can be read") from error
    missing = [name for name in ("model", "prompt", "seed", "settings") if name not in text]
    if missing:
        raise ValueError("this PNG holds no settings of Demask; was it saved by another program?")
    if max(len(str(text[name])) for name in ("model", "prompt", "seed", "settings")) > MOST_TEXT:
        raise ValueError("the settings in this PNG are too long")
    try:
        seed = int(text["seed"])
        rng.check_seed(seed)
        settings = settings_from(current_settings(json.loads(text["settings"])))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the settings in this PNG cannot be read: {error}") from error
    return Facts(str(text["model"]), str(text["prompt"]), seed, settings)


def from_address(address: object) -> bytes:
    """The bytes of a data address.

    Raises:
        ValueError: it is none, or holds too much.
    """
    head, comma, body = str(address or "").partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("no image has arrived")
    if len(body) * 3 // 4 > MOST_BYTES:
        raise ValueError(f"the image is larger than {MOST_BYTES // 2**20} MB")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError("the image has arrived broken") from error

"""Read the settings of an image from its PNG file."""

from __future__ import annotations

import base64
import binascii
import io

from demask.image import GeneratedImage
from demask.server.engine import Engine, Request
from demask.server.errors import ApiError
from demask.server.uploads import check_pixels

MAX_BYTES = 6 * 2**20

MOST_PIXELS = 4096 * 4096
"""Of an image that the page decodes."""


def read_facts(data: bytes) -> GeneratedImage:
    """The image of a dropped file, as `GeneratedImage.read` reads it.

    Raises:
        ValueError: the data is no PNG, one of too many pixels, or one without the metadata of
            Demask.
    """
    try:
        check_pixels(data, "image", MOST_PIXELS)
    except ApiError as error:
        raise ValueError(error.message) from None
    return GeneratedImage.read(io.BytesIO(data))


def read_usable(engine: Engine, data: bytes) -> GeneratedImage:
    """As `read_facts`, for an image that the engine can generate again.

    Raises:
        ValueError: as `read_facts`, or the model is not served here, or cannot use the settings.
    """
    facts = read_facts(data)
    if facts.model not in engine.generators:
        raise ValueError(f"the image is of the model '{facts.model}', not served here")
    engine.job(Request(facts.model, facts.prompt or None, facts.seed, vars(facts.settings)))
    return facts


def from_address(address: object) -> bytes:
    """The bytes of a data URL.

    Raises:
        ValueError: the text is not a data URL, or the image is larger than 6 MB.
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

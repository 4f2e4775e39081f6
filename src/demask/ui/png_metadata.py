"""Read the settings of an image from its PNG file."""

from __future__ import annotations

import base64
import binascii
import io

from demask.image import GeneratedImage

MAX_BYTES = 6 * 2**20


def read_facts(data: bytes) -> GeneratedImage:
    """The image of a dropped file, as `GeneratedImage.read` reads it.

    Raises:
        ValueError: the data is no PNG, or a PNG without the metadata of Demask.
    """
    return GeneratedImage.read(io.BytesIO(data))


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

"""Convert images of any mode, depth and colour profile to 8-bit sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

FLOAT_RANGES = ((1.0, 255.0), (255.0, 1.0), (65535.0, 255.0 / 65535.0))
"""The largest value of an image of floating-point numbers, and the factor to 8 bits."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit sRGB; transparent parts are composed on white.

    Raises:
        ValueError: as `to_8_bits`.
    """
    image = with_alpha(image)
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def with_alpha(image: Image.Image) -> Image.Image:
    """Any image as 8-bit sRGB: of mode ``RGBA`` if a part is transparent, else ``RGB``.

    Raises:
        ValueError: floating-point pixels in no range that is known.
    """
    image = to_8_bits(to_srgb(image))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    opaque = layer.getchannel("A").getextrema() == (255, 255)
    return layer.convert("RGB") if opaque else layer


def to_8_bits(image: Image.Image) -> Image.Image:
    """Grey images of 16 or 32 bits or of floating-point numbers as 8-bit grey; others unchanged.

    The largest 16-bit value becomes 255. Floating-point values are taken as 0 to 1, 0 to 255 or
    0 to 65535, whichever is the first range that holds them all.

    Raises:
        ValueError: floating-point values that are negative, not finite or above 65535.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image.convert("I"), dtype=np.float64) * (255 / 65535)
    elif image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        largest = float(values.max(initial=0))
        factor = next((f for most, f in FLOAT_RANGES if largest <= most), None)
        if factor is None or not np.isfinite(values).all() or values.min(initial=0) < 0:
            raise ValueError("floating-point pixels outside of 0 to 1, 0 to 255 and 0 to 65535")
        values = values * factor
    else:
        return image
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def to_srgb(image: Image.Image) -> Image.Image:
    """The image with its embedded colour profile applied; unchanged if it has none.

    A profile that cannot be read, or that is of another colour space than the pixels, is ignored,
    as browsers do.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "CMYK"):
        return image
    palette = image.mode in ("P", "PA")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colors = image.convert("RGB") if palette or image.mode == "RGBA" else image
    colors = colors.convert("L") if colors.mode == "LA" else colors
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(
            colors, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    assert made is not None
    if alpha is not None:
        made.putalpha(alpha)
    made.info.pop("icc_profile", None)
    return made

"""Read the form of an edit: its fields, and untrusted images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from PIL import Image, ImageOps
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from demask.data.color import with_alpha
from demask.data.masks import read_mask
from demask.server.engine import Edit
from demask.server.errors import ApiError, complaint
from demask.server.fields import Editing, ImageFields
from demask.server.settings_fields import FROM_TEXT

FORMATS = ("PNG", "JPEG", "WEBP")
T = TypeVar("T", bound=ImageFields)


@dataclass(frozen=True)
class Form(Generic[T]):
    """The form of an edit or a variation.

    Attributes:
        asked: the fields.
        image: the bytes of the image.
        mask: the bytes of the mask, or None.
    """

    asked: T
    image: bytes
    mask: bytes | None


async def read_form(request: Request, fields: type[T], *names: str) -> Form[T]:
    """Read a multipart form; `demask.server.guard` limits the size of the request.

    Args:
        request: the request.
        fields: the fields that are no files.
        names: of the files, ``image`` or ``image`` and ``mask``.

    Raises:
        ApiError: the request is no form, or a field is missing, unknown or wrong.
    """
    try:
        async with request.form(max_files=4, max_fields=64, max_part_size=65536) as form:
            files = {name: await _file(form, name) for name in names}
            values = _values(form, names)
    except ApiError:
        raise
    except HTTPException as error:
        raise ApiError(400, str(error.detail)) from None
    image = files["image"]
    if image is None:
        raise ApiError(400, "image: an image is needed, as a file of a form", param="image")
    try:
        asked = fields.model_validate(values, context=FROM_TEXT)
    except ValidationError as error:
        valid = [*names, *fields.model_fields]
        raise complaint(error.errors(include_url=False), valid) from None
    return Form(asked, image, files.get("mask"))


async def _file(form: FormData, name: str) -> bytes | None:
    """The bytes of the file ``name`` or ``name[]``, or None."""
    found = [*form.getlist(name), *form.getlist(f"{name}[]")]
    if len(found) > 1:
        raise ApiError(400, f"{name}: one image at a time, not {len(found)}", param=name)
    if not found:
        return None
    if not isinstance(found[0], UploadFile):
        raise ApiError(400, f"{name}: a file, not text", param=name)
    return await found[0].read()


def _values(form: FormData, files: Collection[str]) -> Mapping[str, Any]:
    """The fields that are no files; the values of a list are called ``name`` or ``name[]``."""
    names = {name.removesuffix("[]") for name in form} - set(files)
    values: dict[str, Any] = {}
    for name in names:
        found = [*form.getlist(name), *form.getlist(f"{name}[]")]
        if any(isinstance(value, UploadFile) for value in found):
            raise ApiError(400, f"{name}: a value, not a file", param=name)
        values[name] = found if name in ("corrections", "accelerators") else found[-1]
    return values


def read_edit(form: Form[Editing], most_pixels: int) -> Edit:
    """The image, and a mask that is white where it is regenerated.

    The mask is read as everywhere (`demask.data.masks.read_mask`): white on black, white strokes
    on a transparent layer, or the image with a transparent hole, as in the OpenAI API. Without a
    mask, the transparent part of the image is regenerated.

    Raises:
        ApiError: an image cannot be read or is too large, there is nothing to regenerate, or the
            mask can be read in two ways.
    """
    image = open_upload(form.image, "image", most_pixels)
    if form.mask is None:
        if not image.has_transparency_data:
            raise ApiError(400, "mask: needed, as the image has no transparent part", param="mask")
        mask = _transparent(image)
    else:
        loaded = open_upload(form.mask, "mask", most_pixels)
        try:
            mask = read_mask(loaded, "mask", prefer_hole=True)
        except ValueError as error:
            raise ApiError(400, str(error), param="mask") from None
    return Edit(with_alpha(image), mask, form.asked.feather)


def _transparent(image: Image.Image) -> Image.Image:
    """A mask that is white where an image is more than half transparent."""
    return image.convert("RGBA").getchannel("A").point([255] * 128 + [0] * 128)


def open_upload(data: bytes, name: str, most_pixels: int) -> Image.Image:
    """Decode an image and turn it upright; its size is checked before its pixels are decoded.

    Raises:
        ApiError: the data is no PNG, JPEG or WebP, is broken, or is too large.
    """
    check_pixels(data, name, most_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception:  # decoders raise exceptions of any type on untrusted data
        raise unreadable(name) from None


def check_pixels(data: bytes, name: str, most_pixels: int) -> None:
    """Check the size of an image by its first bytes, without decoding its pixels.

    Raises:
        ApiError: the data is no PNG, JPEG or WebP, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ApiError(413, f"{name}: too many pixels", "too_large", name) from None
    except Exception:
        raise unreadable(name) from None
    if width * height > most_pixels:
        text = f"{name}: {width}x{height} pixels, more than {most_pixels}"
        raise ApiError(413, text, "too_large", name)


def unreadable(name: str) -> ApiError:
    """The error of an upload that is no image."""
    return ApiError(400, f"{name}: no PNG, JPEG or WebP that can be read", param=name)

"""The canvas of an edit: the tokens to regenerate, and the margins of outpainting.

Shape legend: H W rows and columns of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image

from demask.data.color import with_alpha
from demask.generator import Generator
from demask.server.engine import Edit
from demask.server.errors import ApiError
from demask.server.uploads import open_upload
from demask.ui.png_metadata import MOST_PIXELS, from_address
from demask.ui.theme import script

SIDES = ("left", "top", "right", "bottom")
MAX_GROWTH = 2
"""An image grows on each side by at most this multiple of the model's default size."""

TEMPLATE = """
<div class="dm-canvas" data-empty>
  <div class="dm-tools" role="toolbar" aria-label="Brush">
    <button type="button" data-tool="brush" aria-pressed="true">Brush</button>
    <button type="button" data-tool="keep" aria-pressed="false">Eraser</button>
    <label>Size <input type="range" min="1" max="4" value="2" data-tool="size"></label>
    <button type="button" data-tool="clear">Clear</button>
    <span class="dm-spring"></span>
    <button type="button" data-tool="open">Open an image</button>
    <input type="file" accept="image/png,image/jpeg,image/webp" hidden aria-label="An image">
  </div>
  <div class="dm-room">
    <p class="dm-none">Open an image, or take one that you painted.</p>
    <div class="dm-sheet">
      <canvas tabindex="0" role="application"></canvas>
      <button type="button" class="dm-edge" data-side="left"></button>
      <button type="button" class="dm-edge" data-side="top"></button>
      <button type="button" class="dm-edge" data-side="right"></button>
      <button type="button" class="dm-edge" data-side="bottom"></button>
    </div>
  </div>
  <p class="dm-hint"></p>
  <p class="dm-said" role="status"></p>
</div>
"""


def canvas(generator: Generator) -> gr.HTML:
    """Build the component, whose value is that of `blank` and is edited in the browser."""
    return gr.HTML(
        blank(generator),
        html_template=TEMPLATE,
        js_on_load=script("canvas.js"),
        elem_id="canvas",
        apply_default_css=False,
    )


def blank(generator: Generator, image: str = "", cells: tuple[int, ...] = ()) -> dict[str, Any]:
    """The value of an empty canvas.

    Args:
        generator: the model.
        image: a data URL, or an empty string.
        cells: the indices of the tokens to regenerate, row by row.
    """
    return {
        "image": image,
        "cells": list(cells),
        "margins": dict.fromkeys(SIDES, 0),
        "cell": generator.tokenizer.downsampling,
        "step": generator.multiple,
        "side": min(generator.size),
        "most": MAX_GROWTH * max(generator.size),
    }


def lower_half(generator: Generator) -> tuple[int, ...]:
    """The indices of the tokens of the lower half, which are marked in the example."""
    rows, columns = (side // generator.tokenizer.downsampling for side in generator.size)
    return tuple(range(rows // 2 * columns, rows * columns))


def read_canvas(generator: Generator, value: Mapping[str, Any] | None) -> Edit:
    """The image and the mask of an edit, enlarged by its margins.

    Raises:
        ValueError: there is no image or nothing to regenerate, or a number is out of range.
    """
    value = value or {}
    if not value.get("image"):
        raise ValueError("open an image first, or take one that you painted")
    try:
        image = with_alpha(open_upload(from_address(value["image"]), "image", MOST_PIXELS))
    except ApiError as error:
        raise ValueError(error.message) from error
    cell = generator.tokenizer.downsampling
    mask = token_mask(image.size, cell, value.get("cells") or ())
    left, top, right, bottom = margins(generator, value.get("margins") or {})
    size = (image.width + left + right, image.height + top + bottom)
    frame, whole = Image.new(image.mode, size, "black"), Image.new("L", size, 255)
    frame.paste(image, (left, top))
    whole.paste(mask, (left, top))
    if whole.getextrema() == (0, 0):
        raise ValueError("mark the part to repaint with the brush, or drag an edge outward")
    return Edit(frame, whole)


def token_mask(size: tuple[int, int], cell: int, cells: Any) -> Image.Image:
    """A mask that is white over some tokens of an image.

    Raises:
        ValueError: a token is outside the image.
    """
    columns, rows = -(-size[0] // cell), -(-size[1] // cell)
    small = Image.new("L", (columns, rows))
    for index in cells:
        if not isinstance(index, int) or not 0 <= index < rows * columns:
            raise ValueError(f"token {index} is out of range; valid: 0 to {rows * columns - 1}")
        small.putpixel((index % columns, index // columns), 255)
    large = small.resize((columns * cell, rows * cell), Image.Resampling.NEAREST)
    return large.crop((0, 0, *size))


def margins(generator: Generator, value: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The pixels by which each side grows.

    Raises:
        ValueError: a number is out of range.
    """
    most = MAX_GROWTH * max(generator.size)
    left, top, right, bottom = (value.get(side, 0) for side in SIDES)
    for margin in (left, top, right, bottom):
        if not isinstance(margin, int) or not 0 <= margin <= most:
            raise ValueError(f"a side grows by 0 to {most} pixels, not {margin}")
    return left, top, right, bottom

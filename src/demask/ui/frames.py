"""The values of the stage, which shows images while they are generated.

Shape legend: H W rows and columns of tokens, P pixels of a token's side.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from demask.data.color import to_rgb
from demask.generator import GeneratedImage, Generator
from demask.preset_file import changed
from demask.server.engine import Edit, Event, Partial, Request, event_queue
from demask.server.errors import ApiError, api_error
from demask.settings import Settings
from demask.ui.context import PageContext

MASKED_GREY = 128
"""The grey of a masked token in an unfinished image."""

FRAME_SECONDS = 0.06
"""The least time between two frames, so that the steps are visible on a fast machine."""

LARGE = 256 * 256
"""Unfinished images with more pixels than this are sent as WebP."""

Value = dict[str, Any]
"""The value of the stage component; see `stage`."""


@dataclass(frozen=True)
class Tile:
    """One image of the stage component.

    Attributes:
        seed: the seed of its random generator.
        src: the pixels as a data URL; masked tokens are transparent. Empty if all are masked.
        state: ``waiting``, ``painting``, ``done`` or ``failed``.
        step: the number of steps done.
        steps: the number of steps in all.
        title: the prompt or class.
        how: the settings as text.
        facts: model, seed and settings, or the error message.
        size: width and height, for the file name.
    """

    seed: int
    src: str = ""
    state: str = "waiting"
    step: int = 0
    steps: int = 0
    title: str = ""
    how: str = ""
    facts: str = ""
    size: str = ""


def stage(generator: Generator, tiles: Sequence[Tile] = (), message: str = "") -> Value:
    """The value of the stage: tiles, the model's grid and an error message."""
    height, width = generator.size
    rows, columns = (side // generator.tokenizer.downsampling for side in (height, width))
    shape = {"rows": rows, "columns": columns, "width": width, "height": height}
    return {**shape, "tiles": [asdict(tile) for tile in tiles], "message": message}


async def frames(
    context: PageContext, name: str, requests: Sequence[Request]
) -> AsyncIterator[Value]:
    """Generate images; yield the value of the stage after each event.

    Errors are shown, not raised. Closing the iterator cancels the requests.
    """
    generator = context.model(name)
    cell = generator.tokenizer.downsampling
    try:
        tickets = context.engine.submit(*requests)
    except Exception as error:
        yield stage(generator, message=error_message(error))
        return
    tiles = [first(generator, request) for request in requests]
    heard = event_queue(tickets)
    waiting: list[deque[Event]] = [deque() for _ in tickets]
    try:
        yield stage(generator, tiles)
        while any(tile.state not in ("done", "failed") for tile in tiles):
            if not any(waiting):
                index, event = await heard.get()
                waiting[index].append(event)
            while not heard.empty():
                index, event = heard.get_nowait()
                waiting[index].append(event)
            for index, events in enumerate(waiting):
                if events:
                    event = events.popleft()
                    tiles[index] = await asyncio.to_thread(
                        after, context, cell, tiles[index], event
                    )
            failed = [tile.facts for tile in tiles if tile.state == "failed"]
            yield stage(generator, tiles, failed[0] if failed else "")
            await asyncio.sleep(FRAME_SECONDS)
    finally:
        for ticket in tickets:
            ticket.cancel()


def error_message(error: BaseException) -> str:
    """An error in one line, without internal details."""
    known: ApiError = api_error(error)
    return known.message[:1].upper() + known.message[1:]


def first(generator: Generator, request: Request) -> Tile:
    """The tile before the first step; for an edit it shows the part that is not regenerated."""
    chosen = generator.chosen(**request.settings)
    title, how = str(request.condition_input or "anything"), summary(chosen)
    tile = Tile(request.seed, steps=chosen.steps, title=title, how=how)
    if not isinstance(request.edit, Edit):
        return tile
    image = to_rgb(request.edit.image)
    kept = request.edit.mask.convert("L").point([255] * 128 + [0] * 128)
    image.putalpha(kept)
    return replace(tile, src=address(image), size=f"{image.width}x{image.height}")


def after(context: PageContext, cell: int, tile: Tile, event: Event) -> Tile:
    """The tile after an event of its ticket; ``cell`` is the side of a token in pixels."""
    if isinstance(event, Partial):
        src = address(unveiled(event.image, cell))
        return replace(tile, src=src, state="painting", step=event.step, steps=event.steps)
    if isinstance(event, GeneratedImage):
        src = data_address(context.provenance.png(event), "png")
        size = f"{event.image.width}x{event.image.height}"
        facts = f"{event.model} · seed {event.seed} · {summary(event.settings)}"
        return replace(tile, src=src, state="done", step=tile.steps, facts=facts, size=size)
    return replace(tile, state="failed", facts=error_message(event))


def unveiled(image: Image.Image, cell: int) -> Image.Image:
    """The unfinished image with masked tokens transparent instead of grey."""
    pixels_YXC = np.asarray(image.convert("RGB"))
    rows, columns = pixels_YXC.shape[0] // cell, pixels_YXC.shape[1] // cell
    grey_HPWPC = (pixels_YXC == MASKED_GREY).reshape(rows, cell, columns, cell, 3)
    masked_HW = grey_HPWPC.all(axis=(1, 3, 4))
    alpha_HW = np.where(masked_HW, 0, 255).astype(np.uint8)
    alpha = Image.fromarray(alpha_HW).resize(image.size, Image.Resampling.NEAREST)
    seen = image.convert("RGB")
    seen.putalpha(alpha)
    return seen


def address(image: Image.Image) -> str:
    """An image as a data URL; large images are compressed as lossy WebP."""
    kind = "webp" if image.width * image.height > LARGE else "png"
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **({"quality": 70} if kind == "webp" else {}))
    return data_address(buffer.getvalue(), kind)


def data_address(data: bytes, kind: str) -> str:
    """Bytes as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def summary(settings: Settings) -> str:
    """The settings that differ from the defaults, in one line."""
    parts = [f"{settings.steps} steps"]
    for name, value in changed(settings).items():
        if name != "steps":
            shown = "+".join(value) if isinstance(value, tuple) else value
            shown = f"{shown:g}" if isinstance(shown, float) else shown
            parts.append(f"{name.replace('_', ' ')} {shown}")
    return " · ".join(parts)

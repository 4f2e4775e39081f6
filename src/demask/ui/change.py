"""The part of the page where a picture is repainted, or painted around."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.generator import Picture
from demask.server.request import Request
from demask.ui.canvas import blank, canvas, lower_half, read_canvas
from demask.ui.frames import Value, data_address, frames, stage, told
from demask.ui.listening import QUIET, painting
from demask.ui.panel import Panel, asked
from demask.ui.pictures import stage_part
from demask.ui.seeds import parse_seeds
from demask.ui.studio import Studio
from demask.ui.wish import WishParts, wish_parts, wished

NOTE = "<p>Steps, guidance and all else are as in the settings of the first tab.</p>"


@dataclass(frozen=True)
class ChangePart:
    """Its components.

    Attributes:
        canvas: the picture.
        wish: what the new part shows.
        shown: the results.
    """

    canvas: gr.HTML
    wish: WishParts
    shown: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        """What `cleared` updates."""
        return [self.canvas, self.shown]

    @staticmethod
    def cleared(studio: Studio, name: str) -> list[Any]:
        """Nothing on it, for another model."""
        model = studio.model(name)
        return [blank(model), stage(model)]

    @staticmethod
    def filled(studio: Studio, name: str, image: str) -> dict[str, Any]:
        """The canvas with a picture on it, nothing marked yet."""
        return blank(studio.model(name), image)


def change_part(studio: Studio) -> ChangePart:
    """Build it."""
    model = studio.model(studio.names[0])
    with gr.Row(elem_classes="dm-pair"):
        with gr.Column(min_width=280):
            sheet = canvas(model)
        with gr.Column(min_width=280):
            wish = wish_parts(studio, "Repaint", "change", count=1)
            gr.HTML(NOTE, elem_classes="dm-note", apply_default_css=False)
            shown = stage_part(stage(model), "change-stage", places=1)
    return ChangePart(sheet, wish, shown)


def connect_change(
    studio: Studio, name: gr.Radio, part: ChangePart, tab: gr.Tab, settings: Panel
) -> None:
    """Repaint with the settings of the first part of the page."""

    async def repaint(
        name: str, value: Any, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[Value]:
        model = studio.model(name)
        try:
            edit = read_canvas(model, value)
            wish = wished(model, prompt, chosen)
            numbers = parse_seeds(seeds, count)
            requests = studio.requests(name, wish, numbers, asked(values), edit)
        except ValueError as error:
            yield stage(model, message=told(error))
            return
        async for shown in frames(studio, name, requests):
            yield shown

    async def begin(name: str, value: Any) -> Any:
        if (value or {}).get("image"):
            return gr.skip()
        return await example(studio, name)

    inputs = [name, part.canvas, *part.wish.inputs, *settings.controls]
    painting(repaint, inputs, [part.shown], part.wish)
    tab.select(begin, [name, part.canvas], part.canvas, **QUIET)


async def example(studio: Studio, name: str) -> Any:
    """A picture to try the brush on, with a part of it marked."""
    model = studio.model(name)
    words = studio.examples(name)
    wish = words[0] if words else model.class_names[0]
    try:
        (ticket,) = studio.engine.submit(Request(name, wish))
        picture: Picture = await asyncio.to_thread(ticket.result)
    except Exception:  # an example that cannot be had is no reason to complain
        return gr.skip()
    return blank(model, data_address(studio.provenance.png(picture), "png"), lower_half(model))

"""The part of the page where an image is regenerated, or generated around."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.generator import GeneratedImage
from demask.server.engine import Request
from demask.ui.canvas import blank, canvas, lower_half, read_canvas
from demask.ui.condition_input import ConditionParts, chosen_condition, condition_parts
from demask.ui.context import PageContext
from demask.ui.events import QUIET, on_generate
from demask.ui.frames import Value, data_address, error_message, frames, stage
from demask.ui.images import stage_part
from demask.ui.panel import Panel, settings_of
from demask.ui.seeds import parse_seeds

NOTE = "<p>Steps, guidance and all else are as in the settings of the first tab.</p>"


@dataclass(frozen=True)
class EditTab:
    """Its components.

    Attributes:
        canvas: the image.
        condition_input: what the new part shows.
        shown: the results.
    """

    canvas: gr.HTML
    condition_input: ConditionParts
    shown: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        """What `cleared` updates."""
        return [self.canvas, self.shown]

    @staticmethod
    def cleared(context: PageContext, name: str) -> list[Any]:
        """Nothing on it, for another model."""
        model = context.model(name)
        return [blank(model), stage(model)]

    @staticmethod
    def filled(context: PageContext, name: str, image: str) -> dict[str, Any]:
        """The canvas with an image on it, nothing marked yet."""
        return blank(context.model(name), image)


def edit_tab(context: PageContext) -> EditTab:
    """Build it."""
    model = context.model(context.names[0])
    with gr.Row(elem_classes="dm-pair"):
        with gr.Column(min_width=280):
            sheet = canvas(model)
        with gr.Column(min_width=280):
            condition_input = condition_parts(context, "Repaint", "change", count=1)
            gr.HTML(NOTE, elem_classes="dm-note", apply_default_css=False)
            shown = stage_part(stage(model), "change-stage", places=1)
    return EditTab(sheet, condition_input, shown)


def connect_edit_tab(
    context: PageContext, name: gr.Radio, part: EditTab, tab: gr.Tab, settings: Panel
) -> None:
    """Regenerate with the settings of the first part of the page."""

    async def regenerate(
        name: str, value: Any, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[Value]:
        model = context.model(name)
        try:
            edit = read_canvas(model, value)
            condition_input = chosen_condition(model, prompt, chosen)
            numbers = parse_seeds(seeds, count)
            requests = context.requests(name, condition_input, numbers, settings_of(values), edit)
        except ValueError as error:
            yield stage(model, message=error_message(error))
            return
        async for shown in frames(context, name, requests):
            yield shown

    async def begin(name: str, value: Any) -> Any:
        if (value or {}).get("image"):
            return gr.skip()
        return await example(context, name)

    inputs = [name, part.canvas, *part.condition_input.inputs, *settings.controls]
    on_generate(regenerate, inputs, [part.shown], part.condition_input)
    tab.select(begin, [name, part.canvas], part.canvas, **QUIET)


async def example(context: PageContext, name: str) -> Any:
    """An image to try the brush on, with a part of it marked."""
    model = context.model(name)
    words = context.examples(name)
    condition_input = words[0] if words else model.class_names[0]
    try:
        (ticket,) = context.engine.submit(Request(name, condition_input))
        image: GeneratedImage = await asyncio.to_thread(ticket.result)
    except Exception:  # an example that cannot be had is no reason to complain
        return gr.skip()
    return blank(model, data_address(context.provenance.png(image), "png"), lower_half(model))

"""The tab that edits an image: inpainting and outpainting."""

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

NOTE = "<p>Steps, guidance and all other settings are those of the first tab.</p>"


@dataclass(frozen=True)
class EditTab:
    """The components of the tab.

    Attributes:
        canvas: the image and its marked tokens.
        condition_input: the prompt or class of the new part.
        shown: the results.
    """

    canvas: gr.HTML
    condition_input: ConditionParts
    shown: gr.HTML

    @property
    def outputs(self) -> list[gr.HTML]:
        """The components that `cleared` updates."""
        return [self.canvas, self.shown]

    @staticmethod
    def cleared(context: PageContext, name: str) -> list[Any]:
        """The updates of `outputs` for another model."""
        model = context.model(name)
        return [blank(model), stage(model)]

    @staticmethod
    def filled(context: PageContext, name: str, image: str) -> dict[str, Any]:
        """The value of the canvas with an image and no marked token."""
        return blank(context.model(name), image)


def edit_tab(context: PageContext) -> EditTab:
    """Build the tab."""
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
    """Connect the button; the settings are those of the first tab."""

    async def regenerate(
        name: str, value: Any, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[Value]:
        model = context.model(name)
        try:
            edit = read_canvas(model, value)
            condition_input = chosen_condition(model, prompt, chosen, required=False)
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
    """The canvas with a generated example, of which the lower half is marked."""
    model = context.model(name)
    words = context.examples(name)
    condition_input = words[0] if words else model.class_names[0]
    try:
        (ticket,) = context.engine.submit(Request(name, condition_input))
        image: GeneratedImage = await asyncio.to_thread(ticket.result)
    except Exception:  # the example is optional
        return gr.skip()
    return blank(model, data_address(context.provenance.png(image), "png"), lower_half(model))

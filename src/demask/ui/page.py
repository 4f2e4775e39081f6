"""The page: tabs to generate, edit and compare, and a gallery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from demask.image import GeneratedImage
from demask.server.engine import Engine
from demask.server.provenance import Provenance
from demask.ui.compare import ComparePart, compare_part, connect_compare
from demask.ui.condition_input import (
    ConditionParts,
    chosen_condition,
    condition_parts,
    updated_parts,
)
from demask.ui.context import PageContext
from demask.ui.csp import SameOriginOnly
from demask.ui.edit_tab import EditTab, connect_edit_tab, edit_tab
from demask.ui.events import QUIET, on_generate, on_preset
from demask.ui.frames import Value, error_message, frames, stage
from demask.ui.images import drop_part, gallery_part, stage_part
from demask.ui.panel import Panel, fill_controls, panel, settings_of
from demask.ui.png_metadata import from_address, read_usable
from demask.ui.seeds import parse_seeds
from demask.ui.theme import CSS, theme

HEAD = '<meta name="color-scheme" content="light dark">'
TITLE = """
<div class="dm-title"><h1>Demask</h1><p>Images that appear token by token</p></div>
"""
CALM: dict[str, Any] = {
    "theme": theme(),
    "css_paths": [CSS],
    "head": HEAD,
    "footer_links": [],
    "run_history": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "enable_monitoring": False,
    "max_file_size": "1kb",
}
"""Options of Gradio: services that the page does not need are off."""


def mount(app: FastAPI, engine: Engine, provenance: Provenance | None = None) -> None:
    """Mount the page at / of an application; see `demask.ui.mount`."""
    context = PageContext(engine, provenance or Provenance())

    def put() -> None:
        gr.mount_gradio_app(app, build(context), "/", **CALM)

    async def put_inside() -> None:
        put()

    try:
        asyncio.get_running_loop()
    except RuntimeError:  # without a running loop, Gradio creates several and closes none
        asyncio.run(put_inside())
    else:
        put()
    route = app.routes[-1]
    assert isinstance(route, Mount)
    route.app = SameOriginOnly(route.app)


def build(context: PageContext) -> gr.Blocks:
    """Build the page."""
    model = context.model(context.names[0])
    with gr.Blocks(title="Demask", analytics_enabled=False) as page:
        with gr.Row(elem_classes="dm-head"):
            gr.HTML(TITLE, apply_default_css=False)
            name = gr.Radio(
                context.names,
                value=context.names[0],
                label="Model",
                elem_id="model",
                elem_classes="dm-segments",
                visible=len(context.names) > 1,
                scale=0,
            )
        with gr.Tabs(elem_classes="dm-tabs") as tabs:
            with gr.Tab("Paint", id="paint"):
                condition_input = condition_parts(context, "Paint", "paint")
                shown = stage_part(stage(model), "paint-stage")
                with gr.Accordion("Settings", open=False, elem_classes="dm-fold dm-settings"):
                    settings = panel(model, model.settings)
            with gr.Tab("Change", id="change") as change_tab:
                change = edit_tab(context)
            with gr.Tab("Compare", id="compare"):
                compare = compare_part(context)
        gallery = gallery_part()
        drop = drop_part()
        connect_paint(context, name, condition_input, settings, shown)
        connect_edit_tab(context, name, change, change_tab, settings)
        connect_compare(context, name, compare)
        connect_model(context, name, condition_input, settings, shown, change, compare)
        stages = [gallery, shown, change.shown, *compare.stages]
        connect_images(
            context, name, tabs, condition_input, settings, change, [gallery, drop], stages
        )
    page.queue(default_concurrency_limit=64, max_size=256)
    return page


def connect_paint(
    context: PageContext,
    name: gr.Radio,
    condition_input: ConditionParts,
    settings: Panel,
    shown: gr.HTML,
) -> None:
    """Connect the button of the first tab."""

    async def generate(
        name: str, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[Value]:
        model = context.model(name)
        try:
            wanted = chosen_condition(model, prompt, chosen)
            requests = context.requests(
                name, wanted, parse_seeds(seeds, count), settings_of(values)
            )
        except ValueError as error:
            yield stage(model, message=error_message(error))
            return
        async for value in frames(context, name, requests):
            yield value

    inputs = [name, *condition_input.inputs, *settings.controls]
    on_generate(generate, inputs, [shown], condition_input)
    on_preset(context, name, settings)


def connect_model(
    context: PageContext,
    name: gr.Radio,
    condition_input: ConditionParts,
    settings: Panel,
    shown: gr.HTML,
    change: EditTab,
    compare: ComparePart,
) -> None:
    """Update all inputs, settings and sizes when another model is selected."""

    def choose(name: str) -> list[Any]:
        model = context.model(name)
        words = updated_parts(context, name)
        return [
            *words,
            *fill_controls(model, model.settings),
            stage(model),
            *words,
            *change.cleared(context, name),
            *words,
            *compare.cleared(context, name),
        ]

    outputs = [
        *condition_input.outputs,
        *settings.outputs,
        shown,
        *change.condition_input.outputs,
        *change.outputs,
        *compare.condition_input.outputs,
        *compare.outputs,
    ]
    name.input(choose, name, outputs, **QUIET)


def connect_images(
    context: PageContext,
    name: gr.Radio,
    tabs: gr.Tabs,
    condition_input: ConditionParts,
    settings: Panel,
    change: EditTab,
    shelves: list[gr.HTML],
    stages: list[gr.HTML],
) -> None:
    """Connect the buttons of finished images: restore the settings, or edit the image."""

    def restore(data: gr.EventData) -> list[Any]:
        try:
            facts = read_usable(context.engine, from_address(data.file))
        except ValueError as error:
            gr.Warning(error_message(error))
            return [gr.skip()] * len(outputs)
        gr.Info(f"The settings of seed {facts.seed} are restored. Press Paint.")
        return restored(context, facts)

    def use(name: str, data: gr.EventData) -> list[Any]:
        return [gr.update(selected="change"), change.filled(context, name, str(data.file))]

    outputs = [
        name,
        tabs,
        *condition_input.outputs,
        condition_input.seeds,
        condition_input.count,
        *settings.outputs,
    ]
    for shelf in shelves:
        shelf.restore(restore, None, outputs, **QUIET)
    for source in stages:
        source.use(use, name, [tabs, change.canvas], **QUIET)


def restored(context: PageContext, facts: GeneratedImage) -> list[Any]:
    """The updates that restore the model, prompt, seed and settings of an image."""
    return [
        gr.update(value=facts.model),
        gr.update(selected="paint"),
        *updated_parts(context, facts.model, facts.prompt),
        str(facts.seed),
        1,
        *fill_controls(context.model(facts.model), facts.settings),
    ]

"""The page: paint, change, compare, and what was painted so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from demask.server.engine import Engine
from demask.server.provenance import Provenance
from demask.ui.change import ChangePart, change_part, connect_change
from demask.ui.compare import ComparePart, compare_part, connect_compare
from demask.ui.frames import Value, frames, stage, told
from demask.ui.listening import QUIET, painting, refilling
from demask.ui.local import Local
from demask.ui.panel import Panel, asked, panel, refilled
from demask.ui.pictures import drop_part, gallery_part, stage_part
from demask.ui.restore import from_address, read_facts
from demask.ui.seeds import parse_seeds
from demask.ui.studio import Studio
from demask.ui.theme import CSS, theme
from demask.ui.wish import WishParts, reworded, wish_parts, wished

HEAD = '<meta name="color-scheme" content="light dark">'
TITLE = """
<div class="dm-title"><h1>Demask</h1><p>Pictures that appear token by token</p></div>
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
"""How Gradio is mounted: it offers, keeps and tells nothing that the page does not need."""


def mount(app: FastAPI, engine: Engine, provenance: Provenance | None = None) -> None:
    """Put the page at / of an application; see `demask.ui.mount`."""
    studio = Studio(engine, provenance or Provenance())

    def put() -> None:
        gr.mount_gradio_app(app, build(studio), "/", **CALM)

    async def put_inside() -> None:
        put()

    try:
        asyncio.get_running_loop()
    except RuntimeError:  # outside of a loop Gradio makes a dozen of them and closes none
        asyncio.run(put_inside())
    else:
        put()
    route = app.routes[-1]
    assert isinstance(route, Mount)
    route.app = Local(route.app)


def build(studio: Studio) -> gr.Blocks:
    """The page of some models."""
    model = studio.model(studio.names[0])
    with gr.Blocks(title="Demask", analytics_enabled=False) as page:
        with gr.Row(elem_classes="dm-head"):
            gr.HTML(TITLE, apply_default_css=False)
            name = gr.Radio(
                studio.names,
                value=studio.names[0],
                label="Model",
                elem_id="model",
                elem_classes="dm-segments",
                visible=len(studio.names) > 1,
                scale=0,
            )
        with gr.Tabs(elem_classes="dm-tabs") as tabs:
            with gr.Tab("Paint", id="paint"):
                wish = wish_parts(studio, "Paint", "paint")
                shown = stage_part(stage(model), "paint-stage")
                with gr.Accordion("Settings", open=False, elem_classes="dm-fold dm-settings"):
                    settings = panel(model, model.settings)
            with gr.Tab("Change", id="change") as change_tab:
                change = change_part(studio)
            with gr.Tab("Compare", id="compare"):
                compare = compare_part(studio)
        gallery = gallery_part()
        drop = drop_part()
        connect_paint(studio, name, wish, settings, shown)
        connect_change(studio, name, change, change_tab, settings)
        connect_compare(studio, name, compare)
        connect_model(studio, name, wish, settings, shown, change, compare)
        stages = [gallery, shown, change.shown, *compare.stages]
        connect_pictures(studio, name, tabs, wish, settings, change, [gallery, drop], stages)
    page.queue(default_concurrency_limit=64, max_size=256)
    return page


def connect_paint(
    studio: Studio, name: gr.Radio, wish: WishParts, settings: Panel, shown: gr.HTML
) -> None:
    """Paint what is asked for."""

    async def paint(
        name: str, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[Value]:
        model = studio.model(name)
        try:
            wanted = wished(model, prompt, chosen)
            requests = studio.requests(name, wanted, parse_seeds(seeds, count), asked(values))
        except ValueError as error:
            yield stage(model, message=told(error))
            return
        async for value in frames(studio, name, requests):
            yield value

    inputs = [name, *wish.inputs, *settings.controls]
    painting(paint, inputs, [shown], wish)
    refilling(studio, name, settings)


def connect_model(
    studio: Studio,
    name: gr.Radio,
    wish: WishParts,
    settings: Panel,
    shown: gr.HTML,
    change: ChangePart,
    compare: ComparePart,
) -> None:
    """Another model: other words, settings and sizes everywhere."""

    def choose(name: str) -> list[Any]:
        model = studio.model(name)
        words = reworded(studio, name)
        return [
            *words,
            *refilled(model, model.settings),
            stage(model),
            *words,
            *change.cleared(studio, name),
            *words,
            *compare.cleared(studio, name),
        ]

    outputs = [
        *wish.outputs,
        *settings.outputs,
        shown,
        *change.wish.outputs,
        *change.outputs,
        *compare.wish.outputs,
        *compare.outputs,
    ]
    name.input(choose, name, outputs, **QUIET)


def connect_pictures(
    studio: Studio,
    name: gr.Radio,
    tabs: gr.Tabs,
    wish: WishParts,
    settings: Panel,
    change: ChangePart,
    shelves: list[gr.HTML],
    stages: list[gr.HTML],
) -> None:
    """A finished picture gives its settings back, or is changed."""

    def restore(data: gr.EventData) -> list[Any]:
        same = [gr.skip()] * (2 + len(wish.outputs) + 2 + len(settings.outputs))
        try:
            facts = read_facts(from_address(data.file))
            if facts.model not in studio.names:
                raise ValueError(f"the picture is of the model '{facts.model}', not served here")
        except ValueError as error:
            gr.Warning(told(error))
            return same
        gr.Info(f"The settings of seed {facts.seed} are back. Press Paint.")
        model = studio.model(facts.model)
        return [
            gr.update(value=facts.model),
            gr.update(selected="paint"),
            *reworded(studio, facts.model, facts.prompt),
            str(facts.seed),
            1,
            *refilled(model, facts.settings),
        ]

    def use(name: str, data: gr.EventData) -> list[Any]:
        return [gr.update(selected="change"), change.filled(studio, name, str(data.file))]

    outputs = [name, tabs, *wish.outputs, wish.seeds, wish.count, *settings.outputs]
    for shelf in shelves:
        shelf.restore(restore, None, outputs, **QUIET)
    for source in stages:
        source.use(use, name, [tabs, change.canvas], **QUIET)

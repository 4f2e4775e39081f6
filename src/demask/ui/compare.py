"""The part of the page where two settings paint the same seeds side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.generator import Generator
from demask.settings import Settings
from demask.ui.frames import Value, frames, stage, told
from demask.ui.listening import painting, refilling
from demask.ui.panel import Panel, asked, panel, refilled
from demask.ui.pictures import stage_part
from demask.ui.seeds import parse_seeds
from demask.ui.studio import Studio
from demask.ui.wish import WishParts, wish_parts, wished

FEW = 2  # steps of the first side, so that there is something to see


@dataclass(frozen=True)
class ComparePart:
    """Its components.

    Attributes:
        wish: what both sides show.
        panels: the settings of each side.
        stages: where each side appears.
    """

    wish: WishParts
    panels: tuple[Panel, Panel]
    stages: tuple[gr.HTML, gr.HTML]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `cleared` updates."""
        return [*self.panels[0].outputs, *self.panels[1].outputs, *self.stages]

    @staticmethod
    def cleared(studio: Studio, name: str) -> list[Any]:
        """For another model."""
        model = studio.model(name)
        empty = stage(model)
        first, second = refilled(model, hurried(model)), refilled(model, model.settings)
        return [*first, *second, empty, empty]


def hurried(model: Generator) -> Settings:
    """The model's settings in few steps, without guidance."""
    return model.settings.updated(steps=min(FEW, model.settings.steps), guidance=1.0)


def compare_part(studio: Studio) -> ComparePart:
    """Build it."""
    model = studio.model(studio.names[0])
    wish = wish_parts(studio, "Compare", "compare")
    made: list[tuple[Panel, gr.HTML]] = []
    with gr.Row(elem_classes="dm-sides", equal_height=False):
        for side, settings in (("A", hurried(model)), ("B", model.settings)):
            with gr.Column(min_width=100, elem_classes="dm-side"):
                shown = stage_part(stage(model), f"compare-{side}", title=side)
                with gr.Accordion(f"Settings of {side}", open=False, elem_classes="dm-fold"):
                    made.append((panel(model, settings, side), shown))
    (first, left), (second, right) = made
    return ComparePart(wish, (first, second), (left, right))


def connect_compare(studio: Studio, name: gr.Radio, part: ComparePart) -> None:
    """Paint both sides at once; the engine takes them in turn."""
    width = len(part.panels[0].controls)

    async def compare(
        name: str, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[list[Value]]:
        model = studio.model(name)
        try:
            wish, numbers = wished(model, prompt, chosen), parse_seeds(seeds, count)
            sides = [asked(values[:width]), asked(values[width:])]
            todo = [studio.requests(name, wish, numbers, settings) for settings in sides]
        except ValueError as error:
            yield [stage(model, message=told(error)), stage(model)]
            return
        async for value in frames(studio, name, [*todo[0], *todo[1]]):
            yield halves(value, len(numbers))

    controls = [*part.panels[0].controls, *part.panels[1].controls]
    inputs = [name, *part.wish.inputs, *controls]
    painting(compare, inputs, list(part.stages), part.wish)
    for one in part.panels:
        refilling(studio, name, one)


def halves(value: Value, count: int) -> list[Value]:
    """The stages of both sides out of one."""
    tiles = value["tiles"]
    return [{**value, "tiles": tiles[:count]}, {**value, "tiles": tiles[count:], "message": ""}]

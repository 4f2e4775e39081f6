"""The tab that compares two settings on the same seeds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.generator import Generator
from demask.settings import Settings
from demask.ui.condition_input import ConditionParts, chosen_condition, condition_parts
from demask.ui.context import PageContext
from demask.ui.events import on_generate, on_preset
from demask.ui.frames import Value, error_message, frames, stage
from demask.ui.images import stage_part
from demask.ui.panel import Panel, fill_controls, panel, settings_of
from demask.ui.seeds import parse_seeds

FEW = 2
"""Default number of steps of the first side, small enough that the sides differ."""


@dataclass(frozen=True)
class ComparePart:
    """The components of the tab.

    Attributes:
        condition_input: the prompt or class of both sides.
        panels: the settings of each side.
        stages: the images of each side.
    """

    condition_input: ConditionParts
    panels: tuple[Panel, Panel]
    stages: tuple[gr.HTML, gr.HTML]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components that `cleared` updates."""
        return [*self.panels[0].outputs, *self.panels[1].outputs, *self.stages]

    @staticmethod
    def cleared(context: PageContext, name: str) -> list[Any]:
        """The updates of `outputs` for another model."""
        model = context.model(name)
        empty = stage(model)
        first, second = fill_controls(model, hurried(model)), fill_controls(model, model.settings)
        return [*first, *second, empty, empty]


def hurried(model: Generator) -> Settings:
    """The model's settings with few steps and without guidance."""
    return model.settings.updated(steps=min(FEW, model.settings.steps), guidance_scale=1.0)


def compare_part(context: PageContext) -> ComparePart:
    """Build the tab."""
    model = context.model(context.names[0])
    condition_input = condition_parts(context, "Compare", "compare")
    made: list[tuple[Panel, gr.HTML]] = []
    with gr.Row(elem_classes="dm-sides", equal_height=False):
        for side, settings in (("A", hurried(model)), ("B", model.settings)):
            with gr.Column(min_width=100, elem_classes="dm-side"):
                shown = stage_part(stage(model), f"compare-{side}", title=side)
                with gr.Accordion(f"Settings of {side}", open=False, elem_classes="dm-fold"):
                    made.append((panel(model, settings, side), shown))
    (first, left), (second, right) = made
    return ComparePart(condition_input, (first, second), (left, right))


def connect_compare(context: PageContext, name: gr.Radio, part: ComparePart) -> None:
    """Connect the button; both sides are submitted together."""
    width = len(part.panels[0].controls)

    async def compare(
        name: str, prompt: str, chosen: str, seeds: str, count: int, *values: Any
    ) -> AsyncIterator[list[Value]]:
        model = context.model(name)
        try:
            condition_input, numbers = (
                chosen_condition(model, prompt, chosen),
                parse_seeds(seeds, count),
            )
            sides = [settings_of(values[:width]), settings_of(values[width:])]
            todo = [
                context.requests(name, condition_input, numbers, settings) for settings in sides
            ]
        except ValueError as error:
            yield [stage(model, message=error_message(error)), stage(model)]
            return
        async for value in frames(context, name, [*todo[0], *todo[1]]):
            yield halves(value, len(numbers))

    controls = [*part.panels[0].controls, *part.panels[1].controls]
    inputs = [name, *part.condition_input.inputs, *controls]
    on_generate(compare, inputs, list(part.stages), part.condition_input)
    for one in part.panels:
        on_preset(context, name, one)


def halves(value: Value, count: int) -> list[Value]:
    """Split the value of a stage into those of both sides."""
    tiles = value["tiles"]
    return [{**value, "tiles": tiles[:count]}, {**value, "tiles": tiles[count:], "message": ""}]

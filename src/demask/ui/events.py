"""Event handlers that several tabs share."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demask.ui.condition_input import ConditionParts
from demask.ui.context import PageContext
from demask.ui.panel import OWN, Panel, fill_controls

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of every listener: neither Gradio's progress bar nor its API."""


def on_generate(
    generate: Any, inputs: list[Any], stages: list[gr.HTML], condition_input: ConditionParts
) -> None:
    """Generate on Enter, on the button and on an example; the stop button of a stage cancels."""
    begun = [condition_input.go.click, condition_input.prompt.submit, condition_input.seeds.submit]
    run = gr.on(begun, generate, inputs, stages, trigger_mode="once", **QUIET)
    for shown in stages:
        shown.stop(None, None, None, cancels=[run], **QUIET)
    press = f"() => document.querySelector('#{condition_input.go.elem_id}').click()"
    picked = condition_input.examples.pick(
        take, None, condition_input.prompt, cancels=[run], **QUIET
    )
    picked.then(None, None, None, js=press, **QUIET)


def take(picked: gr.EventData) -> str:
    """The text of the clicked example."""
    return str(picked.text)


def on_preset(context: PageContext, name: gr.Radio, settings: Panel) -> None:
    """Fill the controls in when a preset is selected."""

    def refill(name: str, preset: str) -> list[Any]:
        model = context.model(name)
        chosen = model.settings if preset == OWN else model.presets[preset].settings
        return fill_controls(model, chosen, preset)

    settings.preset.input(refill, [name, settings.preset], settings.outputs, **QUIET)

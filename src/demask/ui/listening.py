"""How the components of the page are wired."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demask.ui.panel import OWN, Panel, refilled
from demask.ui.studio import Studio
from demask.ui.wish import WishParts

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""For every listener: the stage shows its own progress, and the API is the server's."""


def painting(paint: Any, inputs: list[Any], stages: list[gr.HTML], wish: WishParts) -> None:
    """Paint on Enter, on the button and on an example; a stage's own button gives up."""
    begun = [wish.go.click, wish.prompt.submit, wish.seeds.submit]
    run = gr.on(begun, paint, inputs, stages, trigger_mode="once", **QUIET)
    for shown in stages:
        shown.stop(None, None, None, cancels=[run], **QUIET)
    press = f"() => document.querySelector('#{wish.go.elem_id}').click()"
    picked = wish.examples.pick(take, None, wish.prompt, cancels=[run], **QUIET)
    picked.then(None, None, None, js=press, **QUIET)


def take(picked: gr.EventData) -> str:
    """The example that was clicked."""
    return str(picked.text)


def refilling(studio: Studio, name: gr.Radio, settings: Panel) -> None:
    """A preset that is chosen fills the controls in."""

    def refill(name: str, preset: str) -> list[Any]:
        model = studio.model(name)
        chosen = model.settings if preset == OWN else model.presets[preset].settings
        return refilled(model, chosen, preset)

    settings.preset.input(refill, [name, settings.preset], settings.outputs, **QUIET)

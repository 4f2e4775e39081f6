"""What is to be painted: words with examples, or chips of classes; which seeds, how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.conditioning import Wish
from demask.generator import Generator
from demask.ui.seeds import COUNTS
from demask.ui.studio import Studio
from demask.ui.theme import script

ANYTHING = "anything"


@dataclass(frozen=True)
class WishParts:
    """Components in which a wish is made.

    Attributes:
        prompt: of a model of prompts.
        classes: of a model of classes.
        go: paints.
        seeds: as `parse_seeds` reads them.
        count: how many pictures.
        examples: prompts to take.
    """

    prompt: gr.Textbox
    classes: gr.Radio
    go: gr.Button
    seeds: gr.Textbox
    count: gr.Radio
    examples: gr.HTML

    @property
    def inputs(self) -> list[gr.components.Component]:
        """What `wished` and `parse_seeds` read."""
        return [self.prompt, self.classes, self.seeds, self.count]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `reworded` updates."""
        return [self.prompt, self.classes, self.examples]


def wish_parts(studio: Studio, verb: str, place: str, *, count: int = 4) -> WishParts:
    """Build the components, for the first of the models.

    Args:
        studio: the models.
        verb: what the button says.
        place: the part of the page, for the components' names.
        count: how many pictures.
    """
    model = studio.model(studio.names[0])
    words = not model.class_names
    with gr.Row(elem_classes="dm-ask"):
        prompt = gr.Textbox(
            label="Prompt",
            placeholder="What should it show?",
            visible=words,
            elem_id=f"{place}-prompt",
            elem_classes="dm-prompt",
            max_length=4000,
            scale=1,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
        )
        classes = gr.Radio(
            chips(model),
            value=first_class(model),
            label="What it shows",
            visible=not words,
            elem_id=f"{place}-classes",
            elem_classes="dm-chips",
        )
        go = gr.Button(verb, variant="primary", scale=0, elem_id=f"{place}-go", min_width=110)
    with gr.Row(elem_classes="dm-under"):
        examples = gr.HTML(
            list(studio.examples(studio.names[0])),
            html_template='<div class="dm-examples" role="group" aria-label="Examples"></div>',
            js_on_load=script("examples.js"),
            elem_id=f"{place}-examples",
            visible=words and place != "change",
            apply_default_css=False,
        )
        with gr.Row(elem_classes="dm-small"):
            picked = gr.Radio(
                list(COUNTS), value=count, label="Pictures", elem_classes="dm-segments"
            )
            seeds = gr.Textbox(
                label="Seeds", placeholder="random", elem_id=f"{place}-seeds", max_length=200
            )
    return WishParts(prompt, classes, go, seeds, picked, examples)


def chips(model: Generator) -> list[str]:
    """The classes, and none of them."""
    return [*model.class_names, ANYTHING] if model.class_names else []


def first_class(model: Generator) -> str | None:
    """What is chosen at first."""
    return model.class_names[0] if model.class_names else None


def wished(model: Generator, prompt: str | None, chosen: str | None) -> Wish:
    """The wish that the components show."""
    if not model.class_names:
        return (prompt or "").strip()
    return None if chosen in (None, ANYTHING) else chosen


def reworded(studio: Studio, name: str, text: str = "") -> list[Any]:
    """Updates of `WishParts.outputs` for another model, with a wish if there is one."""
    model = studio.model(name)
    words = not model.class_names
    chosen = text if text in model.class_names else first_class(model)
    if text == "" or words:
        chosen = first_class(model)
    return [
        gr.update(visible=words, value=text if words else ""),
        gr.update(choices=chips(model), value=chosen, visible=not words),
        gr.update(value=list(studio.examples(name)), visible=words),
    ]

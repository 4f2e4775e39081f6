"""The inputs of a request: a prompt with examples or a class, the seeds and their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demask.conditioning import ConditionInput
from demask.generator import Generator
from demask.ui.context import PageContext
from demask.ui.seeds import COUNTS
from demask.ui.theme import script

ANYTHING = "anything"


@dataclass(frozen=True)
class ConditionParts:
    """The components of a condition input.

    Attributes:
        prompt: the prompt, for a model of prompts.
        classes: the class, for a model of classes.
        go: the button that starts the generation.
        seeds: the text field of the seeds; see `parse_seeds`.
        count: the number of images.
        examples: example prompts.
    """

    prompt: gr.Textbox
    classes: gr.Radio
    go: gr.Button
    seeds: gr.Textbox
    count: gr.Radio
    examples: gr.HTML

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The components that `chosen_condition` and `parse_seeds` read."""
        return [self.prompt, self.classes, self.seeds, self.count]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components that `updated_parts` updates."""
        return [self.prompt, self.classes, self.examples]


def condition_parts(
    context: PageContext, verb: str, place: str, *, count: int = 4
) -> ConditionParts:
    """Build the components for the first model.

    Args:
        context: the engine and its models.
        verb: the label of the button.
        place: the prefix of the components' element ids.
        count: the default number of images.
    """
    model = context.model(context.names[0])
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
            list(context.examples(context.names[0])),
            html_template='<div class="dm-examples" role="group" aria-label="Examples"></div>',
            js_on_load=script("examples.js"),
            elem_id=f"{place}-examples",
            visible=words and place != "change",
            apply_default_css=False,
        )
        with gr.Row(elem_classes="dm-small"):
            picked = gr.Radio(list(COUNTS), value=count, label="Images", elem_classes="dm-segments")
            seeds = gr.Textbox(
                label="Seeds", placeholder="random", elem_id=f"{place}-seeds", max_length=200
            )
    return ConditionParts(prompt, classes, go, seeds, picked, examples)


def chips(model: Generator) -> list[str]:
    """The choices of a model of classes: its classes, and any."""
    return [*model.class_names, ANYTHING] if model.class_names else []


def first_class(model: Generator) -> str | None:
    """The class that is selected at first."""
    return model.class_names[0] if model.class_names else None


def chosen_condition(
    model: Generator, prompt: str | None, chosen: str | None, *, required: bool = True
) -> ConditionInput:
    """The condition input of the prompt or the class that the components contain.

    Raises:
        ValueError: there is no prompt, and one is required.
    """
    if not model.class_names:
        text = (prompt or "").strip()
        if required and not text:
            raise ValueError("enter a prompt: what the image should show")
        return text
    return None if chosen in (None, ANYTHING) else chosen


def updated_parts(context: PageContext, name: str, text: str = "") -> list[Any]:
    """The updates of `ConditionParts.outputs` for another model, with a prompt or class."""
    model = context.model(name)
    words = not model.class_names
    chosen = text if text in model.class_names else first_class(model)
    if text == "" or words:
        chosen = first_class(model)
    return [
        gr.update(visible=words, value=text if words else ""),
        gr.update(choices=chips(model), value=chosen, visible=not words),
        gr.update(value=list(context.examples(name)), visible=words),
    ]

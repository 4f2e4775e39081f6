"""The controls of the settings, and the conversion between settings and controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from demask.generator import Generator
from demask.guidance import GUIDANCES
from demask.guidance.scale import SCALES
from demask.sampling.correction import CORRECTIONS
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS
from demask.settings import Settings, settings_from

OWN = ""
"""The value of the preset control for the model's default settings."""

MAX_STEPS = 128
"""The maximum of the slider of steps."""

CONTROLLED = (
    *("steps", "guidance_scale", "temperature", "order", "choice_temperature", "schedule"),
    *("guidance_method", "guidance_schedule", "corrections", "negative_prompt"),
)
"""The settings with a control of their own, in order; the others are a text, see `rest`."""


@dataclass(frozen=True)
class Panel:
    """The controls of one set of settings.

    Attributes:
        preset: the selected preset; it fills the others in.
        controls: the controls of `CONTROLLED`, then the text of the other settings.
    """

    preset: gr.Dropdown
    controls: list[gr.components.Component]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The preset and the controls."""
        return [self.preset, *self.controls]


def panel(generator: Generator, settings: Settings, side: str = "") -> Panel:
    """Build the controls; the less common ones are folded.

    Args:
        generator: the model.
        settings: the initial settings.
        side: the suffix of the element id, if the page has several panels.
    """
    now = dict(zip(CONTROLLED, shown(settings)[: len(CONTROLLED)], strict=True))
    with gr.Row(elem_classes="dm-row"):
        preset = gr.Dropdown(
            presets(generator), value=OWN, label="Preset", visible=bool(generator.presets.by_name)
        )
        steps = gr.Slider(1, most_steps(generator), now["steps"], step=1, label="Steps")
        guidance = gr.Slider(0, 12, now["guidance_scale"], step=0.5, label="Guidance (1 is off)")
    with gr.Accordion("More settings", open=False, elem_classes="dm-fold"):
        folded = folded_controls(now, prompts=not generator.class_names)
        rest_text = gr.Textbox(
            rest(settings),
            label="All other settings",
            placeholder="top_p=0.9; width=128",
            elem_id=f"rest{side}",
            max_length=2000,
        )
    made = {"steps": steps, "guidance_scale": guidance, **folded}
    return Panel(preset, [*(made[name] for name in CONTROLLED), rest_text])


def folded_controls(now: Mapping[str, Any], *, prompts: bool) -> dict[str, gr.components.Component]:
    """Build the less common controls, by setting.

    Args:
        now: the values of the settings.
        prompts: whether the model reads prompts; only then the negative prompt is visible.
    """
    made: dict[str, gr.components.Component] = {}
    with gr.Row(elem_classes="dm-row"):
        made["order"] = choice("Selection order", ORDERS, now["order"])
        made["choice_temperature"] = gr.Number(
            now["choice_temperature"], label="Choice temperature", minimum=0
        )
        highest = max(2, now["temperature"])
        made["temperature"] = gr.Slider(
            0, highest, now["temperature"], step=0.05, label="Temperature"
        )
    with gr.Row(elem_classes="dm-row"):
        made["schedule"] = choice("Mask schedule", SCHEDULES, now["schedule"])
        made["guidance_method"] = choice("Guidance method", GUIDANCES, now["guidance_method"])
        made["guidance_schedule"] = choice("Guidance over time", SCALES, now["guidance_schedule"])
    made["corrections"] = choice("Corrections", CORRECTIONS, now["corrections"], several=True)
    made["negative_prompt"] = gr.Textbox(
        now["negative_prompt"], label="Negative prompt", visible=prompts, max_length=4000
    )
    return made


def choice(label: str, table: Any, value: Any, *, several: bool = False) -> gr.Dropdown:
    """A control for a variant of a table, with options after a colon."""
    return gr.Dropdown(
        list(table), value=value, label=label, multiselect=several, allow_custom_value=True
    )


def presets(generator: Generator) -> list[tuple[str, str]]:
    """The choices of presets, the model's default settings first."""
    return [("Default", OWN), *((name, name) for name in generator.presets.by_name)]


def most_steps(generator: Generator) -> int:
    """The largest number of steps on the slider."""
    return min(generator.transformer.layout.tokens, MAX_STEPS)


def shown(settings: Settings) -> list[Any]:
    """The values of the controls for some settings."""
    values = [getattr(settings, name) for name in CONTROLLED]
    return [*(list(v) if isinstance(v, tuple) else v for v in values), rest(settings)]


def rest(settings: Settings) -> str:
    """The settings without a control that differ from the defaults: ``top_p=0.9; top_k=50``."""
    usual, parts = Settings(), []
    for field in fields(Settings):
        value = getattr(settings, field.name)
        if field.name not in CONTROLLED and value != getattr(usual, field.name):
            parts.append(f"{field.name}={json.dumps(value)}")
    return "; ".join(parts)


def settings_of(values: Sequence[Any]) -> dict[str, Any]:
    """The settings in the controls; empty controls are left to the model.

    Raises:
        ValueError: a setting is unknown, or a value has the wrong type.
    """
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in zip(CONTROLLED, values, strict=False)
        if value not in (None, "")
    }
    chosen["steps"] = int(chosen.get("steps", 0))
    chosen |= read_rest(str(values[len(CONTROLLED)] or ""))
    settings = settings_from(chosen)
    return {name: getattr(settings, name) for name in chosen}


def read_rest(text: str) -> dict[str, Any]:
    """Parse a text in the form of `rest`; words need no quotes.

    Raises:
        ValueError: a part has no ``=``.
    """
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, value = part.partition("=")
        if not sign:
            raise ValueError(f"other settings are written top_p=0.9; width=128, not '{part}'")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


def fill_controls(generator: Generator, settings: Settings, preset: str = OWN) -> list[Any]:
    """The updates of `Panel.outputs` for another model or other settings."""
    updates: list[Any] = [
        gr.update(choices=presets(generator), value=preset, visible=bool(generator.presets.by_name))
    ]
    extra: dict[str, dict[str, Any]] = {
        "steps": {"maximum": max(most_steps(generator), settings.steps)},
        "guidance_scale": {"maximum": max(12, settings.guidance_scale)},
        "temperature": {"maximum": max(2, settings.temperature)},
        "negative_prompt": {"visible": not generator.class_names},
    }
    for name, value in zip((*CONTROLLED, "rest"), shown(settings), strict=True):
        updates.append(gr.update(value=value, **extra.get(name, {})))
    return updates

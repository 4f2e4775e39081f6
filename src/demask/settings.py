"""The choices that a person makes for an image, in words that survive in a file's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from demask.acceleration import Accelerator, parse_accelerator
from demask.guidance.scale import Scale, parse_scale
from demask.registry import unknown
from demask.sampling.correction import parse_correction
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import parse_schedule
from demask.sampling.select import parse_order
from demask.sampling.temperature import Temperature
from demask.types import Step

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""Types of a model's weights, by the names that a person writes."""


@dataclass(frozen=True)
class Settings:
    """How to sample and guide.

    Attributes:
        steps: forward passes.
        schedule: a mask schedule, such as ``cosine`` or ``power:2.5``.
        order: a selection order, such as ``confidence`` or ``halton``.
        choice_temperature: the choice temperature of orders that have one (MaskGIT's tau); None =
            their own.
        choice_temperature_decay: its decay over the steps; None = ``linear``.
        temperature: the softmax temperature.
        temperature_decay: its decay over the steps.
        top_k: draw only from the k most likely codes; 0 = from all.
        top_p: draw only from the most likely codes that hold this much probability.
        guidance_scale: the scale of guidance; 1 = off.
        guidance_schedule: how the scale changes over the steps.
        guidance_method: what is guided away from, such as ``classifier_free``, ``self_guidance``.
        guidance_refresh: both passes of guidance every so many steps; 1 = in every step.
        corrections: names of corrections, applied in turn.
        accelerators: names of accelerators, such as ``token_merging:0.25``, the innermost first.
        negative_prompt: what guidance moves away from, for a model of prompts.
        width: of the image in pixels; None = the model's own.
        height: of the image in pixels; None = the model's own.
        micro_conditions: micro-conditions that differ from the usual, such as
            ``score=6.5,crop_top=20``.
    """

    steps: int = 12
    schedule: str = "cosine"
    order: str = "confidence"
    choice_temperature: float | None = None
    choice_temperature_decay: str | None = None
    temperature: float = 1.0
    temperature_decay: str = "constant"
    top_k: int = 0
    top_p: float = 1.0
    guidance_scale: float = 1.0
    guidance_schedule: str = "constant"
    guidance_method: str = "classifier_free"
    guidance_refresh: int = 1
    corrections: tuple[str, ...] = field(default=())
    accelerators: tuple[str, ...] = field(default=())
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    micro_conditions: str = ""

    def updated(self, **changes: Any) -> Settings:
        """These settings with some changed; None leaves a setting as it is.

        Raises:
            ValueError: an unknown setting.
        """
        names = [f.name for f in fields(self)]
        for name in changes:
            if name not in names:
                raise ValueError(unknown("setting", name, names))
        return replace(self, **{k: v for k, v in changes.items() if v is not None})

    @property
    def sampler(self) -> Sampler:
        """What the decode loop needs.

        Raises:
            ValueError: a name that is unknown or a number out of range.
        """
        if self.choice_temperature is None and self.choice_temperature_decay is not None:
            raise ValueError(
                f"choice_temperature_decay '{self.choice_temperature_decay}' needs a "
                "choice_temperature that it decays"
            )
        choice_temperature = (
            None
            if self.choice_temperature is None
            else Temperature(self.choice_temperature, self.choice_temperature_decay or "linear")
        )
        temperature = Temperature(self.temperature, self.temperature_decay)
        for listed in (choice_temperature, temperature):
            if listed is not None and self.steps > 0:
                listed.at(self.first)
        return Sampler(
            steps=self.steps,
            schedule=parse_schedule(self.schedule),
            order=parse_order(self.order, choice_temperature),
            temperature=temperature,
            filter=Filter(self.top_k, self.top_p),
            corrections=tuple(parse_correction(name) for name in self.corrections),
        )

    @property
    def scale(self) -> Scale:
        """The guidance scale over the steps.

        Raises:
            ValueError: an unknown schedule, one for another number of steps, or a refresh that is
                out of range.
        """
        if self.guidance_refresh < 1:
            raise ValueError(f"guidance_refresh is 1 or more steps, not {self.guidance_refresh}")
        scale = parse_scale(self.guidance_schedule, self.guidance_scale)
        if self.steps > 0:
            scale(self.first)
        return scale

    @property
    def acceleration(self) -> tuple[Accelerator, ...]:
        """What the transformer is put under, the innermost first.

        Raises:
            ValueError: an unknown accelerator, or a number out of range.
        """
        return tuple(parse_accelerator(name) for name in self.accelerators)

    @property
    def first(self) -> Step:
        """The first step: whatever is listed step by step can tell there how many it is for."""
        return Step(0, self.steps, (1, 1), torch.ones(1))

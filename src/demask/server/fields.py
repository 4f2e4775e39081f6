"""The fields of a request for images: those of the OpenAI images API, and our own settings."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from demask.rng import MAX_SEED
from demask.settings import Settings

SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
SETTINGS = (*(f.name for f in fields(Settings)), "preset")

Number = Annotated[float, Field(allow_inf_nan=False)]
Word = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=4000)]


class SettingsFields(BaseModel):
    """Our own settings, where the model's default is not wanted; see `demask.settings.Settings`."""

    model_config = ConfigDict(extra="forbid")

    preset: Word | None = Field(None, description="Named settings of the model to start from.")
    steps: int | None = Field(None, ge=1, le=4096, description="Forward passes.")
    schedule: Word | None = Field(None, description="Mask schedule, such as cosine, power:2.5.")
    order: Word | None = Field(None, description="Selection order, such as confidence, halton.")
    choice_temperature: Number | None = Field(
        None, ge=0, le=1000, description="Choice temperature of the order."
    )
    choice_temperature_decay: Word | None = Field(None, description="Its decay over the steps.")
    temperature: Number | None = Field(
        None, ge=0, le=100, description="Softmax temperature: 0, or 0.001 and above."
    )
    temperature_decay: Word | None = Field(None, description="Its decay over the steps.")
    top_k: int | None = Field(
        None, ge=0, le=2**31, description="Only the k likeliest codes; 0: all."
    )
    top_p: Number | None = Field(None, gt=0, le=1, description="Only codes of this probability.")
    guidance_scale: Number | None = Field(
        None, ge=-100, le=100, description="Scale of guidance; 1: off."
    )
    guidance_schedule: Word | None = Field(None, description="How it changes over the steps.")
    guidance_method: Word | None = Field(None, description="What is guided away from.")
    guidance_refresh: int | None = Field(
        None, ge=1, le=4096, description="Both passes of guidance every so many steps."
    )
    corrections: Annotated[tuple[Word, ...], Field(max_length=8)] | None = Field(
        None, description="Corrections, applied in turn."
    )
    accelerators: Annotated[tuple[Word, ...], Field(max_length=8)] | None = Field(
        None, description="Accelerators, the innermost first."
    )
    negative_prompt: Text | None = Field(None, description="What guidance moves away from.")
    width: int | None = Field(None, ge=1, le=65535, description="Pixels, in place of size.")
    height: int | None = Field(None, ge=1, le=65535, description="Pixels, in place of size.")
    micro_conditions: Word | None = Field(None, description="Micro-conditions, such as score=6.5.")

    @field_validator("temperature")
    @classmethod
    def _not_tiny(cls, value: float | None) -> float | None:
        if value is not None and 0 < value < 0.001:
            raise ValueError("a temperature is 0, or 0.001 and above")
        return value


class ImageFields(SettingsFields):
    """What generating and editing have in common."""

    prompt: Text = Field("", description="In words; a class name for a model of classes.")
    model: Word | None = Field(None, description="One of /v1/models; by default the first.")
    n: int | None = Field(None, ge=1, le=10, description="Images, of seeds that count up.")
    size: Word | None = Field(None, description="WIDTHxHEIGHT in pixels, or auto.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED - 10, description="By default a random one.")
    response_format: Literal["b64_json", "url"] | None = None
    stream: bool | None = Field(None, description="Server-sent events.")
    partial_images: int | None = Field(
        None, ge=0, le=64, description="With stream: unfinished images on the way."
    )
    output_format: Literal["png"] | None = Field(None, description="Images are PNG.")
    user: Text | None = Field(None, description="Ignored, as are the fields below.")
    safety_identifier: Word | None = None
    quality: Word | None = None
    style: Word | None = None
    background: Word | None = None
    moderation: Word | None = None

    @field_validator("size")
    @classmethod
    def _a_size(cls, value: str | None) -> str | None:
        if value not in (None, "auto") and not SIZE.fullmatch(value or ""):
            raise ValueError("a size is WIDTHxHEIGHT in pixels, such as 64x64, or auto")
        return value

    def settings(self) -> dict[str, Any]:
        """What was asked for of `Settings`, and the preset.

        Raises:
            ValueError: a size, and a width or height that is another one.
        """
        chosen = {name: getattr(self, name) for name in SETTINGS}
        match = SIZE.fullmatch(self.size or "")
        if match:
            for name, asked in zip(("width", "height"), map(int, match.groups()), strict=True):
                if chosen[name] not in (None, asked):
                    raise ValueError(f"size is {self.size}, but {name} is {chosen[name]}")
                chosen[name] = asked
        return {name: value for name, value in chosen.items() if value is not None}


class Generation(ImageFields):
    """The body of /v1/images/generations."""


class Editing(ImageFields):
    """The fields of /v1/images/edits beside its files."""

    feather: int | None = Field(None, ge=0, le=256, description="Soft edge, in pixels.")
    input_fidelity: Word | None = Field(None, description="Ignored.")

"""The fields of a request for images: those of the OpenAI images API, and our own settings."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator

from demask.rng import MAX_SEED
from demask.server.settings_fields import settings_fields
from demask.settings import Settings

SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
SETTINGS = (*(f.name for f in fields(Settings)), "preset")

Word = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=4000)]


def whole(value: object) -> object:
    """Refuse true and false, which would count as 1 and 0; a form holds numbers as text."""
    if isinstance(value, bool):
        raise ValueError(f"it must be a whole number, not {str(value).lower()}")
    return value


Whole = Annotated[int, BeforeValidator(whole)]


Format = Literal["png", "jpeg", "webp"]

if TYPE_CHECKING:
    SettingsFields = BaseModel
else:
    SettingsFields = settings_fields()


class ImageFields(SettingsFields):
    """What generating and editing have in common."""

    prompt: Text = Field("", description="In words; a class name for a model of classes.")
    model: Word | None = Field(None, description="One of /v1/models; by default the first.")
    n: Whole | None = Field(None, ge=1, le=10, description="Images, of seeds that count up.")
    size: Word | None = Field(None, description="WIDTHxHEIGHT in pixels, or auto.")
    seed: Whole | None = Field(None, ge=0, le=MAX_SEED - 10, description="By default a random one.")
    response_format: Literal["b64_json", "url"] | None = None
    stream: bool | None = Field(None, description="Server-sent events.")
    partial_images: Whole | None = Field(
        None, ge=0, le=64, description="With stream: unfinished images on the way."
    )
    output_format: Format | None = Field(None, description="png by default.")
    output_compression: Whole | None = Field(
        None,
        ge=0,
        le=100,
        description="The quality of jpeg and webp, 100 by default; png has no loss.",
    )
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

    feather: Whole | None = Field(None, ge=0, le=256, description="Soft edge, in pixels.")
    input_fidelity: Word | None = Field(None, description="Ignored.")


class Varying(ImageFields):
    """The fields of /v1/images/variations beside its file."""

    strength: float | None = Field(
        None, ge=0, le=1, description="The share of the tokens that is regenerated, 0.5 by default."
    )

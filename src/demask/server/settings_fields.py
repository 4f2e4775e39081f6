"""The fields of a request that are settings, made of what the fields of `Settings` say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field as SettingField
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model

from demask.setting_info import SettingInfo, info_of
from demask.settings import Settings

MOST_NAMES = 8
"""Corrections, or accelerators, of one request."""

FROM_TEXT = {"text": True}
"""The validation context of a form, in which numbers are text."""


def settings_fields() -> type[BaseModel]:
    """A model with a field for each setting; None leaves the setting to the model of images."""
    entries: dict[str, Any] = {
        "preset": (
            Annotated[str, Field(max_length=200)] | None,
            Field(None, description="Named settings of the model to start from."),
        )
    }
    for setting in fields(Settings):
        entries[setting.name] = (annotation(setting), Field(None, **described(info_of(setting))))
    config = ConfigDict(extra="forbid")
    return create_model("SettingsFields", __config__=config, **entries)


def annotation(setting: SettingField[Any]) -> Any:
    """The type of a field, with the check of `Settings` before that of pydantic."""
    info = info_of(setting)
    kind: Any = info.kind
    if info.kind in (int, float):
        low = "gt" if info.above else "ge"
        limits: dict[str, Any] = {low: 0 if info.or_zero else info.low, "le": info.high}
        kind = Annotated[kind, Field(**{k: v for k, v in limits.items() if v is not None})]
    else:
        kind = Annotated[str, Field(max_length=info.longest)]
        if info.kind is tuple:
            kind = Annotated[tuple[kind, ...], Field(max_length=MOST_NAMES)] | kind
    return Annotated[kind | None, BeforeValidator(checked(setting.name, info))]


def checked(name: str, info: SettingInfo) -> Callable[[Any, ValidationInfo], Any]:
    """Checks a value as `Settings` does; a request holds no objects, so that a dict is refused."""

    def check(value: Any, validation: ValidationInfo) -> Any:
        if value is None:
            return None
        if validation.context == FROM_TEXT and isinstance(value, str):
            return info.read(name, value)
        return info.check(name, value)

    return check


def described(info: SettingInfo) -> dict[str, Any]:
    """The description of a field in the OpenAPI document, with the names registered by then."""
    if info.variants is None:
        return {"description": f"{info.help}."}

    def extra(schema: dict[str, Any]) -> None:
        assert info.variants is not None
        names = ", ".join(name for table in info.variants() for name in table)
        schema["description"] = f"{info.help}. Registered: {names}."

    return {"json_schema_extra": extra}

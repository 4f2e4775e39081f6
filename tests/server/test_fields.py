"""The fields of a request are those of the settings, and the document says what is true."""

from __future__ import annotations

from dataclasses import fields

from demask.server.fields import Generation, SettingsFields
from demask.settings import Settings


def test_every_setting_can_be_asked_for() -> None:
    names = {f.name for f in fields(Settings)} | {"preset"}
    assert set(SettingsFields.model_fields) == names


def test_a_size_is_width_and_height() -> None:
    assert Generation(size="32x16", steps=3).settings() == {"width": 32, "height": 16, "steps": 3}
    assert Generation(size="auto").settings() == {}

"""The fields of a request are those of the settings, and the document says what is true."""

from __future__ import annotations

from dataclasses import fields

from demask.server.fields import SettingsFields
from demask.settings import Settings


def test_every_setting_can_be_asked_for() -> None:
    names = {f.name for f in fields(Settings)} | {"preset"}
    assert set(SettingsFields.model_fields) == names

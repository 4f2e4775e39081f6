"""The command-line options of the settings, built from the fields of `Settings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import click

from demask.cli.command import OptionGroup, Several
from demask.setting_info import SettingInfo, info_of
from demask.settings import Settings

GROUPS = ("Sampling", "Guidance", "Speed", "Image")


class SettingType(click.ParamType):
    """Reads the value of one setting and checks it as `Settings` does.

    Args:
        setting: its field.
    """

    def __init__(self, setting: Field[Any]) -> None:
        self.setting, self.info = setting.name, info_of(setting)
        names: dict[type, str] = {int: "integer", float: "float"}
        self.name = names.get(self.info.kind, "text")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        if not isinstance(value, str) or self.info.kind is tuple:
            return value
        try:
            return self.info.read(self.setting, value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def option(setting: Field[Any]) -> Callable[[Any], Any]:
    """The option of one setting."""
    info = info_of(setting)
    flag = info.flag or f"--{setting.name.replace('_', '-')}"
    several: dict[str, Any] = {"cls": Several, "callback": nothing_is_none}
    return click.option(
        flag,
        setting.name,
        type=SettingType(setting),
        metavar=info.metavar,
        help=sentence(info),
        **(several if info.kind is tuple else {}),
    )


def nothing_is_none(_context: click.Context, _option: click.Parameter, names: Any) -> Any:
    """None if no value is given, which leaves the setting unchanged."""
    return names or None


def sentence(info: SettingInfo) -> str:
    """The help of an option, with the bounds of a number that has two."""
    bounds = info.bounds.strip() if info.high is not None and info.high <= 1000 else ""
    return f"{info.help}." + (f" [{bounds.strip('()')}]" if bounds else "")


def settings_options() -> list[OptionGroup]:
    """The options of all settings, in groups."""
    return [
        OptionGroup(group, [option(f) for f in fields(Settings) if info_of(f).group == group])
        for group in GROUPS
    ]

"""Presets: named, measured settings in the file ``presets.toml`` of a model.

default = "steps12"

[steps12]
scores = ["frechet 12.3 (12.0 to 12.6), extractor cifar10_a, 5,000 images of seeds 0 to 4999"]

[steps12.settings]
steps = 12
temperature = 0.9
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from demask.files import write_text
from demask.registry import UnknownNameError, unknown
from demask.settings import DTYPES, Settings, settings_from

FILE = "presets.toml"
DEFAULT = "default"
KEYS = ("settings", "scores", "dtype")


@dataclass(frozen=True)
class Preset:
    """Named settings.

    Attributes:
        settings: all settings; those that a file leaves out have the defaults of `Settings`.
        scores: measured values, each with its extractor and number of images.
        dtype: the type of the weights that were measured; None = float32.
    """

    settings: Settings
    scores: tuple[str, ...] = ()
    dtype: str | None = None


@dataclass(frozen=True)
class PresetFile:
    """The presets of one model.

    Attributes:
        by_name: in the order of the file.
        default: the preset that is used if none is named; None = none.

    Raises:
        ValueError: the default is not in the file.
    """

    by_name: Mapping[str, Preset]
    default: str | None = None

    def __post_init__(self) -> None:
        if self.default is not None:
            self[self.default]

    def __getitem__(self, name: str) -> Preset:
        """The preset of a name.

        Raises:
            ValueError: there is no such preset.
        """
        if not isinstance(name, str):
            raise UnknownNameError(f"preset must be a name, not {name!r}")
        if not self.by_name:
            raise UnknownNameError(f"unknown preset '{name}': this model has none")
        if name not in self.by_name:
            raise UnknownNameError(unknown("preset", name, self.by_name))
        return self.by_name[name]

    def with_preset(self, name: str, preset: Preset, *, default: bool = False) -> PresetFile:
        """The file with a preset added or replaced.

        Raises:
            ValueError: see `check_name`.
        """
        check_name(name)
        return PresetFile({**self.by_name, name: preset}, name if default else self.default)


def check_name(name: str) -> None:
    """Raise a ValueError for a name that TOML would have to quote."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"a preset's name consists of letters, digits, - and _, unlike '{name}'")
    if name == DEFAULT:
        raise ValueError(f"'{DEFAULT}' is the key of the default preset, and cannot be a name")


def read_presets(path: Path) -> PresetFile:
    """Read a ``presets.toml``; a missing file has no presets.

    Raises:
        ValueError: it is not TOML, or a setting is unknown or not valid.
    """
    if not path.is_file():
        return PresetFile({})
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    default = tables.pop(DEFAULT, None)
    try:
        if not isinstance(default, str | None):
            raise ValueError(f"{DEFAULT} is the name of a preset, not {default}")
        return PresetFile({n: read_preset(n, table) for n, table in tables.items()}, default)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_preset(name: str, table: Any) -> Preset:
    """Read one table of the file.

    Raises:
        ValueError: an unknown key or setting, or a value of another type.
    """
    if not isinstance(table, dict) or not isinstance(table.get("settings", {}), dict):
        raise ValueError(f"[{name}] must be a table with a table of settings inside")
    for key in table:
        if key not in KEYS:
            raise ValueError(f"{name}: {unknown('key', key, KEYS)}")
    scores = table.get("scores", [])
    if not isinstance(scores, list) or not all(isinstance(score, str) for score in scores):
        raise ValueError(f"{name}: scores is a list of texts, not {scores}")
    try:
        settings = settings_from(table.get("settings", {}))
        _ = settings.sampler, settings.scale, settings.acceleration
    except ValueError as error:
        raise ValueError(f"{name}.settings: {error}") from error
    dtype = table.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"{name}: {unknown('dtype', str(dtype), DTYPES)}")
    return Preset(settings, tuple(scores), dtype)


def write_presets(path: Path, presets: PresetFile) -> None:
    """Write a ``presets.toml``, with the settings that differ from the defaults.

    Raises:
        OSError: the file cannot be written; an existing one is not changed.
    """
    lines = [
        "# Settings that were measured: demask generate --preset NAME. Written by demask tune."
    ]
    if presets.default is not None:
        lines.append(f"{DEFAULT} = {json.dumps(presets.default)}")
    for name, preset in presets.by_name.items():
        lines += ["", f"[{name}]"]
        lines += ["scores = [", *(f"    {toml(score)}," for score in preset.scores), "]"]
        lines += [f"dtype = {toml(preset.dtype)}"] if preset.dtype else []
        lines += ["", f"[{name}.settings]"]
        lines += [f"{key} = {toml(value)}" for key, value in changed(preset.settings).items()]
    text = "\n".join(lines) + "\n"
    write_text(path, text)


def changed(settings: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, and always the number of steps."""
    usual = asdict(Settings())
    own = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {n: v for n, v in own.items() if v is not None and (v != usual[n] or n == "steps")}


def toml(value: Any) -> str:
    """A string, number or tuple of strings as TOML, which is the same as JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

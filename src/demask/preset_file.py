"""Named settings of a model, measured: the file ``presets.toml`` beside its weights.

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
    """Settings under a name.

    Attributes:
        settings: all of them; what a file leaves out is as in `Settings`.
        scores: what was measured with them, each with its extractor and number of images.
        dtype: the type of the weights that they were measured in; None = float32.
    """

    settings: Settings
    scores: tuple[str, ...] = ()
    dtype: str | None = None


@dataclass(frozen=True)
class PresetFile:
    """The named settings of one model.

    Attributes:
        by_name: in the order of the file.
        default: the one to use where none is named; None = the model's own settings.

    Raises:
        ValueError: the default is none of them.
    """

    by_name: Mapping[str, Preset]
    default: str | None = None

    def __post_init__(self) -> None:
        if self.default is not None:
            self[self.default]

    def __getitem__(self, name: str) -> Preset:
        """The settings of a name.

        Raises:
            ValueError: there are none.
        """
        if not self.by_name:
            raise UnknownNameError(f"unknown preset '{name}': this model has none")
        if name not in self.by_name:
            raise UnknownNameError(unknown("preset", name, self.by_name))
        return self.by_name[name]

    def with_preset(self, name: str, preset: Preset, *, default: bool = False) -> PresetFile:
        """The file with one more name, or another meaning of one.

        Raises:
            ValueError: see `check_name`.
        """
        check_name(name)
        return PresetFile({**self.by_name, name: preset}, name if default else self.default)


def check_name(name: str) -> None:
    """Raise a ValueError for a preset's name that TOML would have to quote."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"a preset's name is of letters, digits, - and _, not '{name}'")
    if name == DEFAULT:
        raise ValueError(f"'{DEFAULT}' says which preset is the default, and names none")


def read_presets(path: Path) -> PresetFile:
    """Read a ``presets.toml``; none at all is a file without presets.

    Raises:
        ValueError: it is no TOML, or a setting is unknown or of another type.
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
    """One table of the file.

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
    """Write a ``presets.toml``: only what differs from `Settings`, since a name should last.

    Raises:
        OSError: the disk is full or the place may not be written; the old file stays.
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
    """The settings that are not those of `Settings`, and always the number of steps."""
    usual = asdict(Settings())
    own = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {n: v for n, v in own.items() if v is not None and (v != usual[n] or n == "steps")}


def toml(value: Any) -> str:
    """A string, number or tuple of strings as TOML, which writes them as JSON does."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

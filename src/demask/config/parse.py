"""Convert a mapping, such as the content of a TOML file, to nested frozen dataclasses.

An unknown key, a missing key or a value of another type is an error of one line that names the key
and what would be valid.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from demask.registry import unknown

T = TypeVar("T")


class ConfigError(ValueError):
    """An invalid configuration; the message names the file and the key."""


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def override(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The mapping with some values changed, as in ``["run.steps=10", "views.flip=false"]``.

    A value is read as TOML, or else as plain text, so words need no quotes.

    Raises:
        ConfigError: an assignment has no key or no ``=``, or its key is inside of a plain value.
    """
    changed = deepcopy(dict(mapping))
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys):
            raise ConfigError(f"'{assignment}' should look like key.name=value")
        table = changed
        for depth, key in enumerate(keys[:-1], start=1):
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                above = ".".join(keys[:depth])
                raise ConfigError(f"'{assignment}': {above} is a value, not a table")
        table[keys[-1]] = read_value(text.strip())
    return changed


def read_value(text: str) -> Any:
    """A TOML value, or the text itself if it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


def parse(cls: type[T], mapping: Mapping[str, Any], source: str | Path = "recipe.toml") -> T:
    """Build a dataclass, and those inside it, from nested mappings.

    Args:
        cls: the dataclass.
        mapping: its values, with lists for tuples and mappings for dataclasses.
        source: the file of the values, for messages.

    Raises:
        ConfigError: an unknown or a missing key, or an invalid value.
    """
    assert is_dataclass(cls)
    check_keys(cls, mapping, str(source))
    try:
        text = json.dumps(mapping)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error
    try:
        # only from JSON does strict pydantic accept lists as tuples, and still refuse "1" as 1
        return TypeAdapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe(error)}") from error


def check_keys(annotation: Any, value: Any, source: str, path: tuple[str, ...] = ()) -> None:
    """Refuse keys that the dataclasses of ``annotation`` don't have, at any depth."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            check_keys(annotation, item, source, (*path, str(number)))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inside = (*path, key)
            if get_origin(annotation) in (dict, Mapping):
                check_keys(get_args(annotation)[1], item, source, inside)
            elif cls := dataclass_in(annotation):
                valid = [field.name for field in fields(cls) if field.init]
                if key not in valid:
                    line = f"{source}: {'.'.join(inside)}: {unknown('key', key, valid)}"
                    raise ConfigError(line)
                check_keys(get_type_hints(cls)[key], item, source, inside)


def dataclass_in(annotation: Any) -> Any:
    """The dataclass of ``X``, ``X | None`` or ``tuple[X, ...]``; None if there is none."""
    if is_dataclass(annotation):
        return annotation
    found = [cls for option in get_args(annotation) if (cls := dataclass_in(option))]
    return found[0] if len(found) == 1 else None


def describe(error: ValidationError) -> str:
    """The first error, in one line."""
    first, *rest = error.errors(include_url=False)
    path = ".".join(map(str, first["loc"]))
    more = f" (and {len(rest)} more)" if rest else ""
    if first["type"] == "missing":
        return f"{path} is missing{more}"
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    reason = reason.replace("Input should be", "must be")
    if first["type"] == "value_error":
        return f"{path}: {reason}{more}" if path else f"{reason}{more}"
    return f"{path} = {json.dumps(first['input'])[:60]}: {reason}{more}"

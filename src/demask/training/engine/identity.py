"""The identity of a training run: which recipe on which data."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def describe(**parts: object) -> str:
    """The identity of a run as JSON with sorted keys; a run resumes only from an equal identity.

    Fields of dataclasses that have their default value are left out, so that a version of Demask
    with new fields can resume the run.
    """
    return json.dumps(parts, sort_keys=True, default=described)


def described(value: object) -> object:
    """A dataclass as a dictionary of its fields that differ from the default; others as text."""
    if not is_dataclass(value) or isinstance(value, type):
        return str(value)
    return {
        field.name: getattr(value, field.name)
        for field in fields(value)
        if getattr(value, field.name) != default_of(field)
    }


def default_of(field: Field[Any]) -> object:
    """The default value of a dataclass's field; `MISSING` if it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()

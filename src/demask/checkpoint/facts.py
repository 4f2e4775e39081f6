"""Values of a nested configuration, as the authors of TiTok and MaskGen save it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from demask.checkpoint.read import CheckpointError

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""A value that stands for another one, as the authors' programs save it."""
MEANT = {int: "a whole number of at least 1", float: "a number", bool: "true or false"}
REQUIRED = object()


def fact(facts: Mapping[str, Any], place: str, default: Any = REQUIRED) -> Any:
    """A value of a nested configuration, such as ``model.vq_model.token_size``.

    Raises:
        CheckpointError: it is absent and there is no default.
    """
    found: Any = facts
    for name in place.split("."):
        found = found.get(name, REQUIRED) if isinstance(found, Mapping) else REQUIRED
    if found is REQUIRED and default is REQUIRED:
        raise CheckpointError(
            f"its configuration lacks {place}: it needs its config.json, or its yaml, beside it"
        )
    if found is REQUIRED:
        return default
    reference = REFERENCE.fullmatch(found) if isinstance(found, str) else None
    return found if reference is None else fact(facts, reference[1])


def typed(facts: Mapping[str, Any], place: str, kind: type, default: Any = REQUIRED) -> Any:
    """A value of a nested configuration, of a type; whole numbers are at least 1.

    Raises:
        CheckpointError: it is of another type, too small, refers to itself, or is absent and there
            is no default.
    """
    try:
        value = fact(facts, place, default)
    except RecursionError:
        raise CheckpointError(f"its configuration's {place} refers to itself") from None
    fits = isinstance(value, bool) is (kind is bool) and isinstance(value, kind | int)
    if fits and (kind is not int or value >= 1):
        return value
    raise CheckpointError(f"its configuration's {place} should be {MEANT[kind]}, not {value!r:.60}")

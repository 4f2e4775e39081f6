"""What a checkpoint holds: its architecture, configuration and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demask.checkpoint.architectures import ARCHITECTURES, by_class_name, config_from_json
from demask.checkpoint.by_keys import recognised
from demask.checkpoint.read import CheckpointError, Description, Tensors


def described(
    tensors: Tensors, description: Description, architecture: str | None = None
) -> tuple[str, Any, Tensors]:
    """The architecture's name, its configuration and its tensors under our names.

    Raises:
        CheckpointError: nothing says what the tensors are, or they do not fit what says it.
        ValueError: ``architecture`` is unknown.
    """
    if architecture is None and not {"architecture", "_class_name"} & set(description):
        found = recognised(tensors, description)
        if found is not None:
            return found
    name, config = identify(description, architecture)
    row = ARCHITECTURES[name]
    if "architecture" not in description:
        tensors = split(split(tensors, row.elsewhere)[0], row.within)[1]
    return name, config, tensors


def identify(description: Description, architecture: str | None = None) -> tuple[str, Any]:
    """The architecture's name and its configuration.

    Raises:
        CheckpointError: the architecture is missing or unknown.
        ValueError: ``architecture`` is unknown.
    """
    if "architecture" in description:
        name = description["architecture"]
        if not isinstance(name, str) or name not in ARCHITECTURES:
            valid = ", ".join(ARCHITECTURES)
            raise CheckpointError(f"unknown architecture {name!r}; valid: {valid}")
        if architecture not in (None, name):
            raise CheckpointError(f"holds architecture '{name}', not '{architecture}'")
        config = description.get("config")
        if not isinstance(config, Mapping):
            raise CheckpointError("the metadata lacks a 'config'")
        return name, config_from_json(ARCHITECTURES[name].config, config)

    if architecture is None and "_class_name" not in description:
        raise CheckpointError(
            "nothing says what it holds: no metadata, no '_class_name', no known keys"
        )
    name = architecture or by_class_name(str(description["_class_name"]))
    row = ARCHITECTURES[name]
    if row.from_public is None:
        raise CheckpointError(f"the metadata of architecture '{name}' is missing")
    try:
        return name, row.from_public(description)
    except (TypeError, ValueError) as error:
        raise CheckpointError(str(error)) from None


def split(tensors: Tensors, prefixes: tuple[str, ...]) -> tuple[Tensors, Tensors]:
    """Split tensors: names without any of the prefixes, and names with one."""
    apart = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    return {name: t for name, t in tensors.items() if name not in apart}, apart

"""What settings were called in images and results that older versions wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS = {
    "noise": "choice_temperature",
    "noise_decay": "choice_temperature_decay",
    "guidance": "guidance_scale",
    "negative": "negative_prompt",
    "micro": "micro_conditions",
}
RESULTS = {"row": "trial", "companions": "aux"}


def current_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their names of today.

    Raises:
        TypeError: it is no mapping.
        ValueError: as before.
    """
    return {SETTINGS.get(name, name): value for name, value in dict(values).items()}


def current_result(values: Mapping[str, Any]) -> dict[str, Any]:
    """A measured result, or its trial, under the keys of today."""
    return {RESULTS.get(name, name): value for name, value in values.items()}

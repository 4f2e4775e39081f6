"""Wrap the passes through networks that a guided or unguided prediction makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demask.guidance.guidance import Guidance
from demask.guidance.refresh import Refreshed
from demask.types import Predict

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Takes a pass ``(tensor, condition, step) -> result`` and returns one that calls it."""


def wrap_passes(predict: Predict, wrap: Wrap) -> Predict:
    """The same prediction with ``wrap`` around each pass; a guidance stays a guidance."""
    if isinstance(predict, Refreshed):
        return Refreshed(predict.guidance.with_passes(wrap), predict.every)
    if isinstance(predict, Guidance):
        return predict.with_passes(wrap)
    return wrap(predict)

"""Guidances: each wraps a `Predict` and is one, ``reference + s * (conditional - reference)``."""

from collections.abc import Callable

from demask.guidance.classifier_free import ClassifierFree
from demask.guidance.scale import SCALES, Constant, Interval, PowerCosine, Ramp, Scale
from demask.registry import Table
from demask.types import Predict

GUIDANCES: Table[Callable[..., Predict]] = Table("guidance", {"classifier_free": ClassifierFree})

__all__ = [
    "GUIDANCES",
    "SCALES",
    "ClassifierFree",
    "Constant",
    "Interval",
    "PowerCosine",
    "Ramp",
    "Scale",
]

"""Demask: masked generative transformers that generate an image in a few parallel steps.

Importing it is cheap: a name of the public API brings its module, and torch, when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demask.generator import GeneratedImage, Generator
    from demask.presets import load
    from demask.sampling.decode import decode
    from demask.sampling.sampler import Sampler
    from demask.settings import Settings
    from demask.types import Condition, DecodeState, Predict, Prediction, Step

__version__ = "0.1.0"

_HOMES = {
    "Condition": "demask.types",
    "DecodeState": "demask.types",
    "Generator": "demask.generator",
    "GeneratedImage": "demask.generator",
    "Predict": "demask.types",
    "Prediction": "demask.types",
    "Sampler": "demask.sampling.sampler",
    "Settings": "demask.settings",
    "Step": "demask.types",
    "decode": "demask.sampling.decode",
    "load": "demask.presets",
}

__all__ = [
    "Condition",
    "DecodeState",
    "GeneratedImage",
    "Generator",
    "Predict",
    "Prediction",
    "Sampler",
    "Settings",
    "Step",
    "decode",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'demask' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

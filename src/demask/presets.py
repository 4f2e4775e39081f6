"""The models that ship with Demask, and where the files of any model are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demask.registry import Table
from demask.settings import Settings

WEIGHTS = Path(__file__).parent / "weights"
PUBLISHED_PRESETS = Path(__file__).parent / "published_presets"
"""The settings of published models, as their authors sample them."""


@dataclass(frozen=True)
class ShippedModel:
    """A model that ships with Demask.

    Attributes:
        about: one line for ``demask models list``.
        license: of the weights.
        score: the measured quality.

    The default settings of a shipped model are in its ``presets.toml``.
    """

    about: str
    license: str
    score: str


SHIPPED_MODELS: Table[ShippedModel] = Table(
    "model",
    {
        "emoji": ShippedModel(
            about="64x64 emoji of prompts such as 'red apple' or 'waving hand dark skin tone'",
            license="Apache-2.0; trained on Noto Emoji (Apache-2.0) with names of Unicode CLDR",
            score="97.8 % of 1,648 names and 51.9 % of 108 held-out aliases give the right emoji",
        ),
        "cifar10": ShippedModel(
            about="32x32 images of the ten CIFAR-10 classes",
            license="Apache-2.0; trained on CIFAR-10 (A. Krizhevsky, 2009)",
            score="Fréchet distance 2.72 (cifar10_conv), 1.74 (cifar10_patches); docs/numbers.md",
        ),
    },
)


PUBLIC_SETTINGS = Settings(
    steps=64,
    choice_temperature=2.0,
    choice_temperature_decay="endpoints",
    guidance_scale=9.0,
    negative_prompt="low quality, low resolution, blurry, distorted, watermark, signature, "
    "artifacts",
)
"""Meissonic's released sampling (arXiv 2410.08261): 64 steps, guidance 9, a negative prompt."""


def model_path(model: str) -> Path:
    """The folder or file of a model, which may be missing."""
    return WEIGHTS / model if model in SHIPPED_MODELS else Path(model)


def model_folder(model: str) -> Path:
    """The folder of a model's files, auxiliary networks and presets."""
    place = model_path(model)
    return place.parent if place.is_file() else place

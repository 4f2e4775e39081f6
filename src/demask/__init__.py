"""Masked generative transformers that generate an image in a few parallel steps.

Generate::

    generator = demask.load("emoji")           # or "cifar10", a folder, a checkpoint, a hub id
    images = generator.generate(["red apple", "rocket"], num_images=8, seed=0, steps=12)
    images[0].save("apple.png")                # with all that is needed to generate it again
    again = demask.GeneratedImage.read("apple.png")

    for state in generator.stream("rocket"):   # a state after each step
        frame = generator.preview(state)

Edit::

    generator.inpaint(photo, mask, "red apple")
    generator.outpaint(photo, left=16, right=16)
    generator.variations(photo, strength=0.5)

Measure::

    result = demask.evaluate(generator, reference="test.parquet", num_images=5000, steps=18)
    result.write("report.json")                # or .csv
    demask.compare(generator, {"few": {"steps": 4}, "more": {"steps": 16}}, prompts)

``help(demask.Settings)`` lists the settings, ``help(demask.Generator)`` the methods. A variant of a
schedule, an order, a correction, ... is written ``name``, ``name:value`` or ``name:key=value``.

The parts fit together without a generator, too: a model is a `Predict`, a guidance wraps one, and
`decode` runs the loop from a canvas (`blank`) with a `Sampler`.

Importing this module is cheap: torch is imported when a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demask.assembly import load
    from demask.generator import Generator
    from demask.image import GeneratedImage
    from demask.measuring.compare import compare
    from demask.measuring.evaluate import evaluate
    from demask.rng import image_generators
    from demask.sampling.decode import decode
    from demask.sampling.edit import blank
    from demask.sampling.sampler import Sampler
    from demask.settings import Settings
    from demask.types import Condition, DecodeState, Predict, Prediction, Step

__version__ = "0.1.0"

_HOMES = {
    "Condition": "demask.types",
    "DecodeState": "demask.types",
    "GeneratedImage": "demask.image",
    "Generator": "demask.generator",
    "Predict": "demask.types",
    "Prediction": "demask.types",
    "Sampler": "demask.sampling.sampler",
    "Settings": "demask.settings",
    "Step": "demask.types",
    "blank": "demask.sampling.edit",
    "compare": "demask.measuring.compare",
    "decode": "demask.sampling.decode",
    "evaluate": "demask.measuring.evaluate",
    "image_generators": "demask.rng",
    "load": "demask.assembly",
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
    "blank",
    "compare",
    "decode",
    "evaluate",
    "image_generators",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'demask' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

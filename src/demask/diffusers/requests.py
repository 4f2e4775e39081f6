"""From the arguments of diffusers to those of Demask, and from images to diffusers' outputs.

Shape legend: B batch, C channels, H W rows and columns of pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from demask import rng
from demask.conditioning import ConditionInput
from demask.generator import Generator
from demask.registry import shortened, unknown
from demask.setting_info import whole_number

Seeds = int | list[int]
Generators = torch.Generator | Sequence[torch.Generator] | None


def conditions_of(
    model: Generator, prompt: Any, class_labels: Any, num_images_per_prompt: int
) -> list[ConditionInput]:
    """What each image shows; the images of a prompt follow each other.

    Raises:
        ValueError: prompts and classes at once, classes for a model of prompts, or no image.
    """
    if prompt is not None and class_labels is not None:
        raise ValueError("give prompt or class_labels, not both")
    if class_labels is not None and not model.class_names:
        raise ValueError(f"{model.name} is a model of prompts: give prompt, not class_labels")
    if isinstance(class_labels, torch.Tensor):
        class_labels = class_labels.tolist()
    number = whole_number("num_images_per_prompt", num_images_per_prompt, 1)
    given = prompt if class_labels is None else class_labels
    shown = [None] if given is None else model.conditioner.condition_inputs(given)
    return [one for one in shown for _ in range(number)]


def seeds_of(generator: Generators) -> Seeds:
    """The seeds of some random generators: those that they were last seeded with.

    One generator of the seed s means the seeds s, s + 1, ...; several mean one each. None draws a
    seed from torch's own generator.

    Raises:
        ValueError: something else.
    """
    if generator is None:
        return int(torch.randint(rng.MAX_SEED // 2, ()))
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    given: Any = generator
    several = isinstance(given, Sequence) and all(isinstance(one, torch.Generator) for one in given)
    if not several:
        told = shortened(repr(given))
        raise ValueError(f"generator must be a torch.Generator or a list of them, not {told}")
    return [one.initial_seed() for one in given]


def negative_prompt_of(negative_prompt: str | Sequence[str] | None) -> str | None:
    """The negative prompt of a call, which all its images share.

    Raises:
        ValueError: several that differ.
    """
    if negative_prompt is None or isinstance(negative_prompt, str):
        return negative_prompt
    different = set(negative_prompt)
    if len(different) != 1:
        raise ValueError("the images of a call share one negative_prompt: give one text")
    return different.pop()


def to_numpy(images: Sequence[Image.Image]) -> np.ndarray:
    """Images -> float32 (B, H, W, C) in [0, 1]."""
    return np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255


def to_torch(images: Sequence[Image.Image]) -> torch.Tensor:
    """Images -> float32 (B, C, H, W) in [0, 1]."""
    return torch.from_numpy(to_numpy(images)).permute(0, 3, 1, 2)


OUTPUTS: dict[str, Callable[[Sequence[Image.Image]], Any]] = {
    "pil": list,
    "np": to_numpy,
    "pt": to_torch,
}
"""The values of ``output_type``."""


def output_of(name: str) -> Callable[[Sequence[Image.Image]], Any]:
    """A row of `OUTPUTS`; raises a ValueError for an unknown name."""
    if name not in OUTPUTS:
        raise ValueError(unknown("output_type", str(name), OUTPUTS))
    return OUTPUTS[name]

"""How a pipeline decodes: from nothing, from an image, or inside a mask, with all states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from demask import editing
from demask.conditioning import ConditionInput
from demask.editing import Progress
from demask.generator import Generator
from demask.sampling import edit

Decode = Callable[
    [Generator, list[ConditionInput], int | list[int], dict[str, Any]], Iterator[Progress]
]
"""A generator, what each image shows, the seeds and the settings -> states and finished images.

The arguments are checked at once."""


def generate(
    model: Generator,
    conditions: list[ConditionInput],
    seeds: int | list[int],
    settings: dict[str, Any],
) -> Iterator[Progress]:
    """New images, as `Generator.generate`."""
    todo = model.jobs(conditions, len(conditions), seeds, **settings)

    def progress() -> Iterator[Progress]:
        for job in todo:
            for state in model.decode(job, model.blank(job)):
                yield state
            yield from model.finish(job, state)

    return progress()


def vary(image: Image.Image, strength: float, strength_of: str) -> Decode:
    """Variations of an image, as `Generator.variations`."""

    def decode(
        model: Generator,
        conditions: list[ConditionInput],
        seeds: int | list[int],
        settings: dict[str, Any],
    ) -> Iterator[Progress]:
        original = editing.read_varied(model, image, strength, settings)  # type: ignore[arg-type]
        sampler = model.chosen(**settings).sampler
        first, share = edit.start_of(strength, strength_of, sampler.schedule, sampler.steps)
        todo = model.jobs(conditions, len(conditions), seeds, **settings)
        return editing.vary(model, todo, original, share, first)

    return decode


def inpaint(image: Image.Image, mask: Image.Image, feather: int | None) -> Decode:
    """An image with the white part of a mask regenerated, as `Generator.inpaint`."""

    def decode(
        model: Generator,
        conditions: list[ConditionInput],
        seeds: int | list[int],
        settings: dict[str, Any],
    ) -> Iterator[Progress]:
        masked = editing.read_masked(model, image, mask, feather, settings)  # type: ignore[arg-type]
        todo = model.jobs(conditions, len(conditions), seeds, **settings)
        return editing.decode_and_blend(model, todo, *masked)

    return decode

"""Batches of images: what each image shows, and its seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from demask import rng
from demask.conditioning import ParsedCondition
from demask.setting_info import whole_number
from demask.settings import Settings
from demask.types import TokenLayout


@dataclass(frozen=True)
class Job:
    """One batch of images: what each shows, its seed, and the settings and layout of all."""

    parsed_conditions: list[ParsedCondition]
    seeds: list[int]
    settings: Settings
    layout: TokenLayout


def image_seeds(
    seed: int | Sequence[int], conditions: int, num_images: int | None
) -> Sequence[int]:
    """The seed of every image; one seed becomes a range, which takes no memory.

    Raises:
        ValueError: no image, a seed out of range, a number of seeds that is not that of images, or
            values of another type.
    """
    if num_images is not None:
        num_images = whole_number("num_images", num_images)
    if not isinstance(seed, Iterable) or isinstance(seed, str | bytes):
        rng.check_seed(seed)
        first, count = int(seed), conditions if num_images is None else num_images
        seeds: Sequence[int] = range(first, first + count)
    else:
        given = list(seed)
        for value in given:
            rng.check_seed(value)
        seeds = [int(value) for value in given]
        count = len(seeds) if num_images is None else num_images
    if count < 1:
        raise ValueError(f"the number of images is at least 1, not {count}")
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} images; one each, or one seed")
    rng.check_seed(seeds[-1])
    return seeds


def batches(
    parsed_conditions: Sequence[ParsedCondition],
    seeds: Sequence[int],
    batch_size: int,
    settings: Settings,
    layout: TokenLayout,
) -> Iterator[Job]:
    """The images in batches; image i shows condition i, and after the last the first again.

    Raises:
        ValueError: a batch size that is no whole number from 1, before the first batch.
    """
    if whole_number("batch_size", batch_size) < 1:
        raise ValueError(f"the batch size is at least 1, not {batch_size}")

    def parts() -> Iterator[Job]:
        for start in range(0, len(seeds), batch_size):
            part = seeds[start : start + batch_size]
            shown = [
                parsed_conditions[(start + i) % len(parsed_conditions)] for i in range(len(part))
            ]
            yield Job(shown, list(part), settings, layout)

    return parts()

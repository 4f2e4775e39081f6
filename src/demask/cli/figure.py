"""`demask figure`: images that show the effect of settings and guidances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import Command, Group, OptionGroup, number, path_option, several
from demask.cli.options import (
    CLASS,
    CONTENT,
    COUNT,
    ModelChoice,
    add,
    condition_inputs,
    one_or_each,
    with_model,
)

if TYPE_CHECKING:
    from demask.conditioning import ConditionInput
    from demask.data.images import ImageDataset, ImageSample
    from demask.sweeps.gallery import Variant

SEVERAL = {"correction": "corrections", "accelerate": "accelerators"}
"""Option that may be given several times -> its setting."""

FILE = OptionGroup(
    "Output",
    [path_option("--out", dir_okay=False, required=True, help="The PNG to write.")],
)

VARIANTS = OptionGroup(
    CONTENT,
    [
        several(
            "--variant",
            "variants",
            metavar="'NAME: SETTING=VALUE ...'...",
            required=True,
            help="One per row, such as 'strong: guidance_scale=4 steps=8', 'NAME: preset=NAME'.",
        ),
        several("--prompt", "prompts", metavar="TEXT...", help="Prompts, one per column in turn."),
        *CLASS,
    ],
)

ONE_STEP = OptionGroup(
    "Images",
    [
        click.option(
            "--data", metavar="PATH", required=True, help="Images: a folder, parquet, ..."
        ),
        number("-n", "--num-images", default=8, help="Number of images."),
        number("--first", default=0, help="Index of the first image."),
        number("--mask-ratio", default=0.9, help="Fraction of the tokens to mask."),
        number("--guidance-scale", default=2.0, help="Scale of guidance."),
        several(
            "--method",
            "methods",
            metavar="NAME...",
            default=("spatial", "self_guidance"),
            help="Guidances to compare.",
        ),
        number("--seed", default=0, help="Random seed of the masks."),
    ],
)


CAPTION_LINES = 5
"""The most lines of a caption."""

PREVIEW = OptionGroup(
    "Images",
    [
        click.option(
            "--data", metavar="PATH", required=True, help="A folder, ..., or scenes:SEED,COUNT."
        ),
        number("-n", "--num-images", default=40, help="Number of images."),
        number("--first", default=0, help="Index of the first image."),
    ],
)


@click.group(cls=Group)
def figure() -> None:
    """Draw image grids that show the effect of settings and guidances."""


@figure.command("seeds", cls=Command)
@add(VARIANTS, COUNT, FILE)
@with_model
def seeds_figure(
    variants: tuple[str, ...],
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    num_images: int | None,
    seeds: tuple[int, ...],
    out: Path,
    choice: ModelChoice,
) -> None:
    """Draw the same seeds under several settings, one row per variant."""
    rows = [read_variant(text) for text in variants]
    generator = choice.load()
    conditions = condition_inputs(prompts, classes, generator)

    from demask.bulk.folder import write_png
    from demask.sweeps.gallery import same_seeds

    write_png(out, same_seeds(generator, rows, conditions, num_images, one_or_each(seeds)))
    click.echo(out)


@figure.command("one-step", cls=Command)
@add(ONE_STEP, FILE)
@with_model
def one_step_figure(
    data: str,
    num_images: int,
    first: int,
    mask_ratio: float,
    guidance_scale: float,
    methods: tuple[str, ...],
    seed: int,
    out: Path,
    choice: ModelChoice,
) -> None:
    """Draw images of which most tokens are masked and predicted in one step."""
    if num_images < 1:
        raise ValueError(f"-n must be at least 1, not {num_images}")
    generator = choice.load()

    from demask.bulk.folder import write_png
    from demask.data import open_images
    from demask.sweeps.gallery import one_step

    samples = open_images(data, class_names=generator.class_names or None)
    chosen = in_turn(samples, first, num_images)
    conditions: list[ConditionInput] = [
        sample.label if generator.class_names else next(iter(sample.captions), None)
        for sample in chosen
    ]
    images = [sample.image for sample in chosen]
    write_png(
        out,
        one_step(
            generator,
            images,
            conditions,
            methods=methods,
            scale=guidance_scale,
            mask_ratio=mask_ratio,
            seed=seed,
        ),
    )
    click.echo(out)


@figure.command("data", cls=Command)
@add(PREVIEW, FILE)
def data_figure(data: str, num_images: int, first: int, out: Path) -> None:
    """Draw the first images of a data set with their captions or classes."""
    if num_images < 1:
        raise ValueError(f"-n must be at least 1, not {num_images}")

    from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
    from demask.bulk.folder import write_png
    from demask.data import open_images

    samples = open_images(data)
    if not 0 <= first < len(samples):
        raise ValueError(f"--first must be from 0 to {len(samples) - 1}, not {first}")
    chosen = [samples[i] for i in range(first, min(first + num_images, len(samples)))]
    tiles = [
        CaptionedImage(p.image, p.captions[0] if p.captions else samples.class_names[p.label])
        for p in chosen
    ]
    write_png(out, contact_sheet(tiles, CAPTION_LINES))
    click.echo(out)


def in_turn(samples: ImageDataset, first: int, count: int) -> list[ImageSample]:
    """``count`` images from an index on, of each class in turn as far as possible.

    Raises:
        ValueError: the first index is out of range.
    """
    if not 0 <= first < len(samples):
        raise ValueError(f"--first must be from 0 to {len(samples) - 1}, not {first}")
    found: list[ImageSample] = []
    rest: list[ImageSample] = []
    classes = len(samples.class_names)
    for index in range(first, len(samples)):
        sample = samples[index]
        if classes == 0 or sample.label == len(found) % classes:
            found.append(sample)
        elif len(found) + len(rest) < count:
            rest.append(sample)
        if len(found) == count:
            return found
    return [*found, *rest][:count]


def read_variant(text: str) -> Variant:
    """Read ``NAME: setting=value setting=value``; the settings may be missing.

    ``correction=NAME`` and ``accelerate=NAME`` may be given several times, as on the command line.

    Raises:
        ValueError: no name, or a part that is not ``setting=value``.
    """
    from demask.config.parse import read_value
    from demask.sweeps.gallery import Variant

    name, _, written = text.partition(":")
    if not name.strip():
        raise ValueError(f"'{text}' should look like NAME: setting=value setting=value")
    settings: dict[str, Any] = {}
    for word in written.split():
        setting, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' in '{text}' should look like setting=value")
        if (plural := SEVERAL.get(setting)) is not None:
            settings[plural] = (*settings.get(plural, ()), value)
        else:
            settings[setting] = read_value(value)
    return Variant(name.strip(), settings)

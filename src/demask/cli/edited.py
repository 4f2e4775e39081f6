"""Functions of the commands that edit an image: read it, and write the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from demask.cli.command import OptionGroup, path_option
from demask.cli.options import ModelChoice, condition_inputs, one_or_each

if TYPE_CHECKING:
    from PIL import Image

    from demask.image import GeneratedImage

IMAGE = OptionGroup(
    "Image to edit",
    [path_option("--image", required=True, help="The image to edit.")],
)


def open_image(path: Path) -> Image.Image:
    """An image, upright and in sRGB, with its transparent parts.

    Raises:
        OSError: no such file.
        ValueError: the file is not a readable image.
    """
    data = path.read_bytes()

    from demask.data.images import read_layer

    return read_layer(data, str(path))


def write_versions(
    before: Image.Image,
    edit: Callable[..., Iterator[GeneratedImage]],
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    num_images: int | None,
    seeds: tuple[int, ...],
    out: Path,
    choice: ModelChoice,
    **settings: Any,
) -> None:
    """Write each version of an image, and a contact sheet that begins with the original.

    ``edit`` is a function of `demask.editing`; the further arguments are options of the commands.

    Raises:
        ValueError: an option is invalid, or there is no such model.
    """
    generator = choice.load(settings.get("preset"))
    conditions = condition_inputs(prompts, classes, generator)
    seed = one_or_each(seeds)
    count = len(generator.seeds(seed, len(conditions or [None]), num_images))
    request = {"conditions": conditions, "num_images": count, "seed": seed, **settings}
    images = edit(generator, before, **request)

    from demask.bulk.contact_sheet import CaptionedImage
    from demask.bulk.folder import write_folder
    from demask.cli.progress import generating

    with generating(count) as bar:
        write_folder(out, bar.count(images), [CaptionedImage(before, "before")])
    click.echo(f"{count} {'image' if count == 1 else 'images'} in {out}")

"""What the commands that edit an image share: reading it and writing the results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import OptionGroup, path_option

if TYPE_CHECKING:
    from PIL import Image

    from demask.image import GeneratedImage

IMAGE = OptionGroup(
    "Image to edit",
    [path_option("--image", required=True, help="The image to edit.")],
)


def open_image(path: Path) -> Image.Image:
    """An image as RGB, upright.

    Raises:
        OSError: no such file.
        ValueError: it is no image that can be read.
    """
    data = path.read_bytes()

    from demask.data.images import read_image

    return read_image(data, str(path))


def write_versions(
    out: Path, before: Image.Image, images: Iterator[GeneratedImage], count: int
) -> None:
    """Write each version, and a contact sheet that begins with the original."""
    from demask.bulk.contact_sheet import CaptionedImage
    from demask.bulk.folder import write_folder
    from demask.cli.progress import generating

    with generating(count) as bar:
        write_folder(out, bar.count(images), [CaptionedImage(before, "before")])
    click.echo(f"{count} {'image' if count == 1 else 'images'} in {out}")

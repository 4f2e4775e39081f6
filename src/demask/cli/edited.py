"""What the commands that start from a picture share: reading it, and writing what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from PIL import Image

    from demask.generator import Picture

IMAGE = [
    click.option(
        "--image",
        type=click.Path(path_type=Path),
        required=True,
        help="The picture to start from.",
    )
]


def open_picture(path: Path) -> Image.Image:
    """A picture as RGB, upright.

    Raises:
        OSError: no such file.
        ValueError: it is no picture that can be read.
    """
    data = path.read_bytes()

    from demask.data.pictures import read_image

    return read_image(data, str(path))


def write_versions(out: Path, before: Image.Image, pictures: Iterator[Picture], count: int) -> None:
    """Write each version, and a contact sheet that opens with the picture before."""
    from demask.bulk.contact_sheet import Tile
    from demask.bulk.folder import write_folder
    from demask.cli.progress import painting

    with painting(count) as bar:
        write_folder(out, bar.count(pictures), [Tile(before, "before")])
    click.echo(f"{count} {'picture' if count == 1 else 'pictures'} in {out}")

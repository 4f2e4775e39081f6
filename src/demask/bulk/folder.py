"""A folder of images, each with its seed as its name, and a contact sheet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demask.bulk.background import background
from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
from demask.files import write_atomically
from demask.image import GeneratedImage

log = logging.getLogger(__name__)

SHEET = "contact_sheet.png"
MOST_TILES = 64


def write_folder(
    folder: Path, images: Iterable[GeneratedImage], first: Sequence[CaptionedImage] = ()
) -> int:
    """Write each image as it comes, in the background, then the contact sheet of the first 64.

    A contact sheet of an earlier run is removed first. After an interruption, the new one shows
    the images that were written. A warning counts the images of earlier runs.

    Args:
        folder: created if it does not exist. Files are named after the seed, such as
            ``000007.png``, and replace files of the same name; the second image of a seed is
            ``000007-2.png``.
        images: read one at a time.
        first: the first tiles of the contact sheet, such as the image before an edit.

    Returns:
        How many images were written.

    Raises:
        OSError: the disk is full or the folder is not writable; no file is half-written.
    """
    (folder / SHEET).unlink(missing_ok=True)
    earlier, written = {path.name for path in folder.glob("[0-9]*.png")}, set[str]()
    tiles, count, seen = list(first), 0, Counter[int]()
    try:
        with background() as soon:
            for image in images:
                count += 1
                seen[image.seed] += 1
                again = f"-{seen[image.seed]}" if seen[image.seed] > 1 else ""
                path = folder / f"{image.seed:06}{again}.png"
                written.add(path.name)
                soon(partial(write_png, path, image.image, image.png_text()))
                if len(tiles) < MOST_TILES:
                    tiles.append(CaptionedImage(image.image, image.prompt))
    except KeyboardInterrupt:
        write_sheet(folder, tiles, count)
        raise
    write_sheet(folder, tiles, count)
    if earlier:
        replaced, left = len(earlier & written), len(earlier - written)
        log.warning("%s: images of an earlier run: %d replaced, %d left", folder, replaced, left)
    return count


def write_sheet(folder: Path, tiles: Sequence[CaptionedImage], count: int) -> None:
    """Write the contact sheet of ``count`` images, if there are any."""
    if count:
        write_png(folder / SHEET, contact_sheet(tiles))


def write_png(path: Path, image: Image.Image, text: PngInfo | None = None) -> None:
    """Write one image under a temporary name, then rename it."""
    write_atomically(path, lambda temporary: image.save(temporary, "PNG", pnginfo=text))

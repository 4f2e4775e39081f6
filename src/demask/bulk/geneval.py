"""GenEval's prompts, and the folders that its own scorer reads (arXiv 2310.11513).

The benchmark's own program finds objects, colours and positions in the images with a detector. This
module writes the images for it: a folder for each line of its prompt file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from demask.bulk.folder import write_png
from demask.files import write_text
from demask.image import GeneratedImage

EACH = 4
"""Images of each prompt in the published results."""
COLUMNS = 2


@dataclass(frozen=True)
class GenEvalPrompt:
    """A line of the prompt file.

    Attributes:
        prompt: the prompt of the images.
        text: the whole line; the scorer reads from it which objects the images must show.
    """

    prompt: str
    text: str


def read_geneval(path: Path) -> list[GenEvalPrompt]:
    """The lines of ``evaluation_metadata.jsonl``: a JSON object each, with a ``prompt``.

    Raises:
        OSError: no such file.
        ValueError: the file is not UTF-8 text, has no lines, or a line is no such object.
    """
    try:
        written = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text") from error
    numbered = [(number, text.strip()) for number, text in enumerate(written, 1)]
    lines = [line_of(text, path, number) for number, text in numbered if text]
    if not lines:
        raise ValueError(f"{path} holds no prompts")
    return lines


def line_of(text: str, path: Path, number: int) -> GenEvalPrompt:
    """Parse one line; raises ValueError if it is no JSON object with a prompt."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    prompt = found.get("prompt") if isinstance(found, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(
            f'{path}: line {number} is no JSON object with a "prompt", as GenEval\'s '
            "evaluation_metadata.jsonl has them"
        )
    return GenEvalPrompt(prompt, text)


def write_geneval(
    folder: Path,
    lines: Sequence[GenEvalPrompt],
    generated_images: Iterator[GeneratedImage],
    each: int,
) -> int:
    """Write ``00000/metadata.jsonl``, ``00000/samples/0000.png``, ``00000/grid.png``, and so on.

    Args:
        folder: created if it does not exist; files of the same names are replaced.
        lines: the lines of the prompt file.
        generated_images: the images of the first line, then of the second, and so on.
        each: the number of images of a line.

    Returns:
        How many images were written.

    Raises:
        OSError: the disk is full or the folder is not writable; no file is half-written.
    """
    count = 0
    for number, line in enumerate(lines):
        here, images = folder / f"{number:05}", []
        write_text(here / "metadata.jsonl", line.text + "\n")
        for sample, generated in enumerate(islice(generated_images, each)):
            assert generated.prompt == line.prompt
            path = here / "samples" / f"{sample:04}.png"
            write_png(path, generated.image, generated.png_text())
            images.append(generated.image)
        write_png(here / "grid.png", grid(images))
        count += len(images)
    return count


def grid(images: Sequence[Image.Image]) -> Image.Image:
    """Images of one size, two in a row."""
    width, height = images[0].size
    columns = min(COLUMNS, len(images))
    paper = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for number, image in enumerate(images):
        paper.paste(image, (number % columns * width, number // columns * height))
    return paper

"""GenEval's prompts, and the folders that its own scorer reads (arXiv 2310.11513).

The benchmark's program looks for objects, colours and places in images with a detector; here it
gets the images: a folder for each line of its prompt file.
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
"""Images of each prompt, as published."""
COLUMNS = 2


@dataclass(frozen=True)
class GenEvalPrompt:
    """A line of the prompt file.

    Attributes:
        prompt: what is generated.
        text: all of it, as it was written: the scorer reads there which objects must be seen.
    """

    prompt: str
    text: str


def read_geneval(path: Path) -> list[GenEvalPrompt]:
    """The lines of ``evaluation_metadata.jsonl``: a JSON object each, with a ``prompt``.

    Raises:
        OSError: no such file.
        ValueError: it is no UTF-8 text, holds nothing, or a line is no such object.
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
    """One line, understood."""
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
        folder: made if need be; files of the same names are replaced.
        lines: of the prompt file.
        generated_images: of the first line, then of the second, and so on.
        each: how many images a line has.

    Returns:
        How many images were written.

    Raises:
        OSError: the disk is full or the folder may not be written; no file is half-written.
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

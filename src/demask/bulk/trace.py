"""An animation of the tokens appearing.

Shape legend: B batch, H W rows and columns of pixels.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
from demask.files import write_atomically
from demask.generator import Generator, Job
from demask.types import DecodeState

STEP_MS, LAST_MS = 150, 2500
MOST_TILES = 16


class Trace:
    """Watches the first batch that it sees and keeps a frame of each step.

    Attributes:
        frames: the first images of the batch, as a contact sheet a step; the first is all grey.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.frames: list[Image.Image] = []
        self._job: Job | None = None

    def __call__(self, job: Job, state: DecodeState) -> None:
        """A `demask.bulk.generate.StepCallback`."""
        if self._job is None:
            self._job = job
            self._add(self.generator.blank(job).state(job.settings.steps))
        if job is self._job:
            self._add(state)

    def _add(self, state: DecodeState) -> None:
        pixels_BHWC = self.generator.preview(state)[:MOST_TILES].numpy()
        self.frames.append(contact_sheet([CaptionedImage(Image.fromarray(p)) for p in pixels_BHWC]))

    def write(self, path: Path) -> None:
        """Write the animation, which holds its last frame and then starts again.

        Raises:
            OSError: the disk is full or the place may not be written; nothing is left there.
        """
        assert self.frames, "nothing was generated"
        first, *rest = self.frames
        durations = [STEP_MS] * len(rest) + [LAST_MS]
        write_atomically(
            path,
            lambda temporary: first.save(
                temporary, "GIF", save_all=True, append_images=rest, duration=durations, loop=0
            ),
        )

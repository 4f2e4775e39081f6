"""An animation of the decoding steps.

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
    """A step callback that records a frame of each step of the first batch.

    Attributes:
        frames: a contact sheet of the batch's first images for each step, after one of the
            all-masked start.
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
        """Write the animation as a GIF that repeats; the last frame is shown longer.

        Raises:
            OSError: the disk is full or the folder is not writable; no partial file is left.
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

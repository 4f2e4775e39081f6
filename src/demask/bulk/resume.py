"""Generate what is missing of a run, and write it as PNGs, NPZ, tar or parquet files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from demask.bulk.background import background
from demask.bulk.contact_sheet import CaptionedImage
from demask.bulk.folder import MOST_TILES, SHEET, write_png, write_sheet
from demask.bulk.npz import join_npz, read_comment, write_npz
from demask.bulk.runs import Shard, count_images, facts_of, jobs_for, missing, opened, shards_of
from demask.bulk.shards import write_parquet, write_tar
from demask.fingerprint import fingerprint
from demask.generator import Generator
from demask.image import GeneratedImage
from demask.jobs import Job

WRITERS = {"npz": write_npz, "tar": write_tar, "parquet": write_parquet}
"""Writers of many images in one file, by its suffix; each takes a path, images and their number."""

Generate = Callable[[Iterator[Job]], Iterator[GeneratedImage]]
"""Generates the images of jobs, such as `demask.bulk.generate.generate_jobs` of a generator."""


@dataclass(frozen=True)
class BulkRun:
    """Images that a command generates, maybe in several parts.

    Attributes:
        out: the folder, or the NPZ file.
        kind: ``png``, ``npz``, ``tar`` or ``parquet``.
        jobs: all images, in batches.
        batch_size: of the images that are missing.
        shards: the files in the folder.
        facts: what the images depend on.
        overwrite: replace a run with other facts; by default it is refused.
    """

    out: Path
    kind: str
    jobs: Iterator[Job]
    batch_size: int
    shards: Sequence[Shard]
    facts: Mapping[str, Any]
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """Where the shards are; beside an NPZ file until that is complete."""
        return self.out.with_name(self.out.name + ".parts") if self.kind == "npz" else self.out

    @property
    def count(self) -> int:
        """The number of images."""
        return count_images(self.shards)

    @property
    def comment(self) -> str:
        """The comment in an NPZ file, by which the command knows it again."""
        return f"demask {fingerprint(*self.facts.items())}"

    def written(self) -> int:
        """The number of images that are complete in the files."""
        left = [] if self.joined() else missing(self.folder, self.shards)
        return self.count - count_images(left)

    def joined(self) -> bool:
        """Whether the NPZ file is complete.

        Raises:
            ValueError: there is a file of another run, and it must not be replaced.
        """
        if self.kind != "npz" or not self.out.is_file():
            return False
        ours = read_comment(self.out) == self.comment
        if not ours and not self.overwrite:
            raise ValueError(
                f"{self.out} holds other images; name another --out, or replace it with --overwrite"
            )
        return ours

    def write(self, generate: Generate) -> None:
        """Generate and write the missing images; nothing is done if there are none.

        Args:
            generate: called once, with the jobs of the missing images.

        Raises:
            ValueError: the files belong to a run with other facts, or a package is missing.
            OSError: the disk is full or the folder is not writable; no file is half-written.
        """
        if self.joined():
            return
        with opened(self.folder, self.facts, self.shards, overwrite=self.overwrite) as left:
            try:
                if left:
                    (self.folder / SHEET).unlink(missing_ok=True)
                    wanted = frozenset(chain.from_iterable(shard.images for shard in left))
                    self._write(left, generate(jobs_for(self.jobs, wanted, self.batch_size)))
            except KeyboardInterrupt:
                self._write_sheet()
                raise
            self._write_sheet()
            if self.kind == "npz":
                join_npz(self.out, [self.folder / s.name for s in self.shards], self.comment)
                shutil.rmtree(self.folder)

    def _write(self, left: Sequence[Shard], images: Iterator[GeneratedImage]) -> None:
        if self.kind != "png":
            for shard in left:
                WRITERS[self.kind](self.folder / shard.name, images, len(shard.images))
            return
        with background() as soon:
            for shard, image in zip(left, images, strict=True):
                path = self.folder / shard.name
                soon(partial(write_png, path, image.image, image.png_text()))

    def _write_sheet(self) -> None:
        """For PNGs, the contact sheet of the first images, where there is none yet."""
        if self.kind != "png" or (self.folder / SHEET).exists():
            return
        paths = [self.folder / shard.name for shard in self.shards[:MOST_TILES]]
        images = [GeneratedImage.read(path) for path in paths if path.exists()]
        tiles = [CaptionedImage(image.image, image.prompt) for image in images]
        write_sheet(self.folder, tiles, len(tiles))


def run_of(
    generator: Generator,
    words: Sequence[str],
    jobs: Iterator[Job],
    seeds: Sequence[int],
    *,
    batch_size: int,
    out: Path,
    kind: str,
    shard_size: int,
    overwrite: bool,
) -> BulkRun:
    """The run of a generator's jobs.

    Args:
        generator: of the images.
        words: the prompts or class names, in turn.
        jobs: all images, in batches; the settings of the first one are those of all.
        seeds: of all images.
        batch_size: images that are generated together.
        out: the folder, or the NPZ file.
        kind: ``png``, ``npz``, ``tar`` or ``parquet``.
        shard_size: images of a file.
        overwrite: replace a run with other facts.

    Raises:
        ValueError: a shard size below 1.
    """
    first = next(jobs)
    size = {} if kind == "png" else {"shard-size": shard_size}
    facts = {"format": kind, **size, **facts_of(generator, words, seeds, first.settings)}
    shards = shards_of(kind, seeds, shard_size)
    return BulkRun(out, kind, chain([first], jobs), batch_size, shards, facts, overwrite)

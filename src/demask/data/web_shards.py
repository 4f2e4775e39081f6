"""Images in tar files, named as WebDataset does: ``key.jpg``, ``key.cls``, ``key.txt``.

The members of one key make one image: its bytes, its class (a number or a name), its captions
(one a line). A ``key.json`` may hold the last two as ``label`` and ``caption``, ``captions`` or
``text``, with others in ``aliases``, and a preference score as ``score``. The tars are scanned once
for the places of their members, after which every image is one seek away.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demask.data.caption_columns import choose_columns, join_cells
from demask.data.classes import Label, number_labels
from demask.data.image_folder import SUFFIXES
from demask.data.images import ImageSample, UnreadableImageError, read_image
from demask.data.scores import SCORE_COLUMN, read_score
from demask.fingerprint import fingerprint


@dataclass(frozen=True)
class Span:
    """Where a member's bytes are in its tar."""

    offset: int
    size: int

    def read(self, tar: Path) -> bytes:
        """The bytes."""
        with tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Sample:
    """One key: the members that share it, by what follows its first dot."""

    tar: Path
    key: str
    members: dict[str, Span] = field(default_factory=dict)

    @property
    def image(self) -> str | None:
        """The ending of the member that is an image, if there is one."""
        return next((end for end in self.members if f".{end}" in SUFFIXES), None)

    def text(self, ending: str) -> str:
        """A member as text."""
        data = self.members[ending].read(self.tar)
        try:
            return data.decode().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.tar}: {self.key}.{ending} is no UTF-8 text") from error

    def facts(self) -> dict[str, Any]:
        """What the JSON member says."""
        if "json" not in self.members:
            return {}
        try:
            facts = json.loads(self.text("json"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.tar}: {self.key}.json is no JSON ({error})") from error
        return facts if isinstance(facts, dict) else {}

    def label(self) -> Label:
        """Its class, by number or by name."""
        label = self.text("cls") if "cls" in self.members else self.facts().get("label")
        text = "" if label is None else str(label)
        return int(text) if re.fullmatch(r"-?[0-9]+", text) else text or None

    def captions(self, wanted: Sequence[str] | None) -> tuple[str, ...]:
        """What it shows in words; by the ``wanted`` keys of the JSON member, if some are named."""
        if wanted is None and "txt" in self.members:
            return join_cells([self.text("txt").splitlines()])
        facts = self.facts()
        keys = choose_columns(self.key, list(facts), None) if wanted is None else wanted
        return join_cells(facts.get(key) for key in keys)

    def score(self) -> float | None:
        """How much people like it."""
        try:
            return read_score(self.facts().get(SCORE_COLUMN))
        except ValueError as error:
            raise ValueError(f"{self.tar}: {self.key}.json: {error}") from error


class WebShards:
    """The images of some tars, in the order of the tars and their members.

    Args:
        paths: the tars, uncompressed.
        class_names: the order of the classes; where the tars only number them, their names.
        caption_columns: the keys of the captions in the JSON members; empty for no captions. By
            default the text members, or else see `choose_columns`.

    Raises:
        ValueError: a tar that can't be read, no image inside, unusable labels, or a caption
            column that no image has.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        class_names: Sequence[str] | None = None,
        caption_columns: Sequence[str] | None = None,
    ) -> None:
        self.paths = list(paths)
        scanned = [sample for path in self.paths for sample in scan(path)]
        self.samples = [sample for sample in scanned if sample.image]
        if not self.samples:
            raise ValueError(f"{self.paths[0]} holds no images ({', '.join(sorted(SUFFIXES))})")
        self.caption_columns = caption_columns
        if caption_columns:
            present = dict.fromkeys(key for sample in self.samples for key in sample.facts())
            choose_columns(str(self.paths[0]), list(present), caption_columns)
        labels = [sample.label() for sample in self.samples]
        try:
            self.labels, self.class_names = number_labels(labels, None, class_names)
        except ValueError as error:
            raise ValueError(f"{self.paths[0]}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """Made of the size and time of each tar, the keys and labels, and what captions count."""
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        keys = [
            (s.tar.name, s.key, label) for s, label in zip(self.samples, self.labels, strict=True)
        ]
        columns = [] if self.caption_columns is None else [tuple(self.caption_columns)]
        return fingerprint(*stats, *keys, *self.class_names, *columns)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> ImageSample:
        sample = self.samples[index]
        assert sample.image
        name = f"{sample.tar.name}/{sample.key}.{sample.image}"
        try:
            data = sample.members[sample.image].read(sample.tar)
            captions, score = sample.captions(self.caption_columns), sample.score()
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}") from error
        except ValueError as error:
            raise UnreadableImageError(str(error)) from error
        return ImageSample(read_image(data, name), self.labels[index], name, captions, score)


def scan(path: Path) -> list[Sample]:
    """The keys of a tar, in the order in which they first stand there."""
    samples: dict[str, Sample] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if member.isreg() and stem and ending:
                    key = f"{folder}/{stem}" if folder else stem
                    sample = samples.setdefault(key, Sample(path, key))
                    sample.members[ending.lower()] = Span(member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path} is no whole, uncompressed tar file ({error})") from error
    return list(samples.values())

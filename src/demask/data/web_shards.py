"""Images in tar files, named as WebDataset does: ``key.jpg``, ``key.cls``, ``key.txt``.

The members of one key form one image: its data, its class (a number or a name) and its captions
(one per line). A ``key.json`` may hold ``label``, captions in ``caption``, ``captions`` or
``text``, alternative ones in ``aliases``, and a preference score in ``score``. The tars are scanned
once for the offsets of their members; then each image needs one seek.
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
from demask.fingerprint import file_sample, fingerprint


@dataclass(frozen=True)
class Span:
    """The offset and size of a member in its tar."""

    offset: int
    size: int

    def read(self, tar: Path) -> bytes:
        """The bytes."""
        with tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Sample:
    """The members of one key, by their name after the first dot."""

    tar: Path
    key: str
    members: dict[str, Span] = field(default_factory=dict)

    @property
    def image(self) -> str | None:
        """The suffix of the image member, or None."""
        return next((end for end in self.members if f".{end}" in SUFFIXES), None)

    def text(self, ending: str) -> str:
        """A member as text."""
        data = self.members[ending].read(self.tar)
        try:
            return data.decode().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.tar}: {self.key}.{ending} is no UTF-8 text") from error

    def facts(self) -> dict[str, Any]:
        """The content of the JSON member."""
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
        """The captions; from the ``wanted`` keys of the JSON member, if given."""
        if wanted is None and "txt" in self.members:
            return join_cells([self.text("txt").splitlines()])
        facts = self.facts()
        keys = choose_columns(self.key, list(facts), None) if wanted is None else wanted
        return join_cells(facts.get(key) for key in keys)

    def score(self) -> float | None:
        """The preference score, or None."""
        try:
            return read_score(self.facts().get(SCORE_COLUMN))
        except ValueError as error:
            raise ValueError(f"{self.tar}: {self.key}.json: {error}") from error


class WebShards:
    """Images in tars, in the order of the tars and their members.

    Args:
        paths: the tars, uncompressed.
        class_names: order of the classes; their names, if the tars only have numbers.
        caption_columns: the caption keys of the JSON members; empty for no captions. By default
            the text members, otherwise see `choose_columns`.

    Raises:
        ValueError: a tar that cannot be read, no images, invalid labels, or a caption column that
            no image has.
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
        """A hash of each tar's `file_sample`, the keys, labels, classes and caption columns."""
        files = [(path.name, file_sample(path)) for path in self.paths]
        keys = [
            (s.tar.name, s.key, label) for s, label in zip(self.samples, self.labels, strict=True)
        ]
        columns = [] if self.caption_columns is None else [tuple(self.caption_columns)]
        return fingerprint(*files, *keys, *self.class_names, *columns)

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
    """The samples of a tar, in the order of their first members."""
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

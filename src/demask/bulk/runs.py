"""Runs that go on after a stop: what a folder holds, what is missing, and with which settings."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from demask.files import lock, unlock, write_text
from demask.fingerprint import file_sample, fingerprint
from demask.generator import Generator
from demask.jobs import Job
from demask.settings import Settings

RUN_FILE = "run.json"
SHARD_NAME = re.compile(r"\d{6,}(-\d+)?\.(png|npz|tar|parquet)")
MOST_TEXT = 60  # characters of a value in a message


@dataclass(frozen=True)
class Shard:
    """A file of a run.

    Attributes:
        name: of the file in the run's folder.
        images: the indices of its images in the run.
    """

    name: str
    images: range


def shards_of(kind: str, seeds: Sequence[int], shard_size: int) -> list[Shard]:
    """The files of a run: a PNG per image, named after its seed, or files of many images.

    Args:
        kind: the suffix of the files.
        seeds: of all images; the second image of seed 7 is ``000007-2.png``.
        shard_size: the images of a file; a PNG holds one.

    Raises:
        ValueError: a shard size below 1.
    """
    if shard_size < 1:
        raise ValueError(f"--shard-size must be at least 1, not {shard_size}")
    count = len(seeds)
    if kind != "png":
        starts = range(0, count, shard_size)
        return [
            Shard(f"{number:06}.{kind}", range(start, min(start + shard_size, count)))
            for number, start in enumerate(starts)
        ]
    shards, seen = [], Counter[int]()
    for index, seed in enumerate(seeds):
        seen[seed] += 1
        again = f"-{seen[seed]}" if seen[seed] > 1 else ""
        shards.append(Shard(f"{seed:06}{again}.png", range(index, index + 1)))
    return shards


def missing(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """The shards that are not in the folder; a file that is there is complete."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [shard for shard in shards if shard.name not in names]


def count_images(shards: Iterable[Shard]) -> int:
    """The number of images in the shards."""
    return sum(len(shard.images) for shard in shards)


def facts_of(
    generator: Generator, words: Sequence[str], seeds: Sequence[int], settings: Settings
) -> dict[str, Any]:
    """All that the images of a run depend on.

    Args:
        generator: of the images; of a folder's weights, a sample of the files is hashed.
        words: the prompts or class names, in turn.
        seeds: of all images.
        settings: of all images.
    """
    place = Path(generator.name)
    weights = sorted(place.rglob("*.safetensors")) if place.is_dir() else []
    facts = {
        "model": generator.name.encode(errors="backslashreplace").decode(),
        "images": len(seeds),
        "seeds": short(list(map(str, seeds))),
        "prompts": short(words),
        "weights": fingerprint(*map(file_sample, weights)),
        **generator.loaded,
        **asdict(settings),
    }
    return dict(json.loads(json.dumps(facts)))


def short(texts: Sequence[str]) -> str:
    """The texts, or, where they are long, the first one and a hash of all."""
    text = ", ".join(texts)
    return text if len(text) <= MOST_TEXT else f"{texts[0][:20]}, ... ({fingerprint(*texts)})"


@contextmanager
def opened(
    folder: Path, facts: Mapping[str, Any], shards: Sequence[Shard], *, overwrite: bool
) -> Iterator[list[Shard]]:
    """Start a run in a folder or go on with it; yield the missing shards.

    ``run.json`` holds the facts of the run, and is written before the first image. No other process
    writes into the folder until the end of the block.

    Args:
        folder: created if it does not exist.
        facts: what the images depend on; see `facts_of`.
        shards: all files of the run.
        overwrite: remove the shards of a run with other facts; by default it is refused.

    Raises:
        ValueError: the folder holds another run, or another process writes into it.
        OSError: the disk is full or the folder is not writable.
    """
    if not overwrite:
        refuse_other(folder, facts, shards)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        locked = lock(folder)
    except BlockingIOError as error:
        raise ValueError(f"another process writes into {folder}; name another --out") from error
    try:
        if read_facts(folder) != facts:
            remove_shards(folder, shards)
            write_text(folder / RUN_FILE, json.dumps(facts, indent=1) + "\n")
        yield missing(folder, shards)
    finally:
        unlock(locked)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of the run in a folder; None if there is none that can be read."""
    try:
        facts = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def refuse_other(folder: Path, facts: Mapping[str, Any], shards: Sequence[Shard]) -> None:
    """Raise a ValueError if the folder holds a run with other facts, or files of such names."""
    found = read_facts(folder)
    ways = "name another --out, or replace it with --overwrite"
    if found is None:
        there = len(shards) - len(missing(folder, shards))
        if there:
            raise ValueError(f"{folder} holds {there} such files and no {RUN_FILE}; {ways}")
        return
    for name in [*facts, *found]:
        old, new = found.get(name), facts.get(name)
        if old != new:
            old, new = str(old)[:MOST_TEXT], str(new)[:MOST_TEXT]
            raise ValueError(f"{folder} holds a run with {name} {old}, not {new}; {ways}")


def remove_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove the shards of the run that is there, and files that are named as the new shards."""
    names = {shard.name for shard in shards}
    ours = (folder / RUN_FILE).exists()
    for path in folder.iterdir():
        if path.name in names or (ours and SHARD_NAME.fullmatch(path.name)):
            path.unlink()


def jobs_for(jobs: Iterable[Job], images: Collection[int], batch_size: int) -> Iterator[Job]:
    """The jobs of some images of a run, by their indices, in batches that are full again."""
    kept: list[Job] = []
    index = 0
    for job in jobs:
        for parsed, seed in zip(job.parsed_conditions, job.seeds, strict=True):
            if index in images:
                kept.append(replace(job, parsed_conditions=[parsed], seeds=[seed]))
            index += 1
            if len(kept) == batch_size:
                yield joined(kept)
                kept = []
    if kept:
        yield joined(kept)


def joined(jobs: Sequence[Job]) -> Job:
    """Jobs of the same settings as one batch."""
    parsed = [one for job in jobs for one in job.parsed_conditions]
    return replace(jobs[0], parsed_conditions=parsed, seeds=[s for job in jobs for s in job.seeds])

"""The images that are measured: samples from files or from a model, and real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from demask.bulk.folder import SHEET
from demask.bulk.generate import generate_jobs
from demask.conditioning import ConditionInput
from demask.data import open_images
from demask.data.images import ImageDataset, Subset
from demask.data.transforms import cover
from demask.evaluation.extractors import Extractor
from demask.evaluation.features import Batch, Features, reference_features
from demask.evaluation.images import NpzImages, in_batches, open_npz
from demask.generator import Generator
from demask.measuring.records import Progress, silent
from demask.settings import SettingsKwargs


@dataclass(frozen=True)
class Samples:
    """The images to measure, and what is known about them.

    Attributes:
        batches: returns an iterator that reads or generates them.
        count: the number of images.
        class_names: the names of their classes; empty if unknown.
        words: the prompt of each image; empty if unknown.
        facts: their source, for the report.
    """

    batches: Callable[[], Iterator[Batch]]
    count: int
    class_names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def read_samples(path: Path) -> Samples:
    """The images of an NPZ file or a folder.

    Raises:
        ValueError: they cannot be read.
    """
    if path.suffix == ".npz":
        npz = open_npz(path)
        return Samples(npz.batches, len(npz), facts={"path": str(path), "data": npz.fingerprint})
    images = open_images(path, strict=True)
    if (path / SHEET).is_file():
        files = range(len(images))
        images = Subset(images, [i for i in files if images[i].name != SHEET])
    names = meaningful(images.class_names)

    def batches() -> Iterator[Batch]:
        read = (images[i] for i in range(len(images)))
        return in_batches((p.image, p.label if names else -1) for p in read)

    facts = {"path": str(path), "data": images.fingerprint}
    return Samples(batches, len(images), names, facts=facts)


def generated_samples(
    generator: Generator,
    conditions: Sequence[ConditionInput] | None,
    count: int,
    seed: int,
    batch_size: int,
    settings: SettingsKwargs,
) -> Samples:
    """Images that a model generates while they are measured; only one batch is in memory.

    Raises:
        ValueError: settings that the model does not support.
    """
    jobs = generator.jobs(conditions, count, seed, batch_size, **settings)
    shown = [
        generator.conditioner.parse(condition_input)
        for condition_input in generator.conditioner.condition_inputs(conditions)
    ]
    words = tuple(shown[i % len(shown)].prompt for i in range(count))

    def batches() -> Iterator[Batch]:
        return in_batches((p.image, p.label) for p in generate_jobs(generator, jobs))

    facts = {
        "model": {"name": generator.name, **generator.loaded},
        "conditions": None if conditions is None else list(conditions),
        "settings": asdict(generator.chosen(**settings)),
        "seed": seed,
        "batch_size": batch_size,
    }
    return Samples(batches, count, tuple(generator.class_names), words, facts)


def meaningful(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names; () if there are fewer than two, or if all are numbers."""
    return () if len(names) < 2 or all(name.isdecimal() for name in names) else names


def with_meaning(features: Features, extractor: Extractor, samples: Samples) -> Features:
    """Features with the extractor's class numbers, and with the features of the prompts.

    The prompts are those of the samples, or else their class names.
    """
    labels_N, names = features.labels_N, samples.class_names
    if labels_N is not None and names:
        known = extractor.class_names
        number = [known.index(name) if name in known else -1 for name in names]
        labels_N = None if min(number) < 0 else torch.tensor(number)[labels_N]
    elif labels_N is not None and int(labels_N.max()) >= len(extractor.class_names):
        labels_N = None
    words = samples.words
    if not words and features.labels_N is not None and names:
        words = tuple(names[label] for label in features.labels_N.tolist())
    reads = getattr(extractor, "texts", None)
    if reads is None or not words:
        return replace(features, labels_N=labels_N)
    texts = [f"a photo of a {word}" if word in names else word for word in words]
    return replace(features, labels_N=labels_N, texts_ND=reads(texts))


Reference = NpzImages | ImageDataset
"""Real images: an NPZ file, or images that are resampled to the size of the samples."""


def open_reference(path: str | Path) -> Reference:
    """The real images; none is decoded yet.

    Raises:
        ValueError: they cannot be read.
    """
    return open_npz(Path(path)) if Path(path).suffix == ".npz" else open_images(str(path))


def features_of_reference(
    path: str | Path,
    size: tuple[int, int],
    class_names: tuple[str, ...],
    extractors: Sequence[Extractor],
    cache: Path | None = None,
    progress: Progress = silent,
) -> tuple[list[Features], dict[str, Any]]:
    """The features of the real images, cropped and resized to the samples' size, and facts of them.

    Raises:
        ValueError: they cannot be read, or have other classes or, in an NPZ file, another size.
    """
    images = open_reference(path)
    batches: Callable[[], Iterator[Batch]]
    if isinstance(images, NpzImages):
        if images.size != size:
            raise ValueError(
                f"the samples have {size[1]}x{size[0]} pixels, the reference "
                f"{images.size[1]}x{images.size[0]}"
            )
        data, batches = images.fingerprint, images.batches
    else:
        check_classes(class_names, meaningful(images.class_names))
        data, batches = f"{images.fingerprint} {size[0]}x{size[1]}", partial(at_size, images, size)
    found = []
    for extractor in extractors:
        with progress(f"features of the reference by {extractor.name}", len(images)) as done:
            found.append(reference_features(batches, data, extractor, cache, done))
    return found, {"path": str(path), "data": data, "count": len(images)}


def check_classes(samples: tuple[str, ...], reference: tuple[str, ...]) -> None:
    """Raise a ValueError if both sides have named classes that differ."""
    if samples and reference and set(samples) != set(reference):
        other = sorted(set(reference) ^ set(samples))
        raise ValueError(
            f"the reference has other classes than the samples: {', '.join(other[:8])} "
            f"{'...' if len(other) > 8 else ''}on one side only"
        )


def at_size(images: ImageDataset, size: tuple[int, int]) -> Iterator[Batch]:
    """The images as batches, cropped and resampled to a height and width."""
    read = (images[i] for i in range(len(images)))
    return in_batches((cover(p.image, *size), p.label) for p in read)

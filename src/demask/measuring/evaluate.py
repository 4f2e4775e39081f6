"""`demask.evaluate`: compare images from files or of a model with real ones."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

import torch

from demask.conditioning import ConditionInput
from demask.device import check_device, default_device
from demask.evaluation.extractors import Extractor, load_extractor
from demask.evaluation.features import Features, extract_all
from demask.evaluation.metrics import METRICS, RESAMPLES, Score, measure
from demask.generator import Generator
from demask.measuring.records import Progress, Record, silent
from demask.measuring.samples import (
    Samples,
    features_of_reference,
    generated_samples,
    open_reference,
    read_samples,
    with_meaning,
)
from demask.measuring.scenes import evaluate_scenes
from demask.setting_info import texts, whole_number
from demask.settings import SettingsKwargs
from demask.sweeps.runner import command_line, commit

SHIPPED = ("cifar10_conv", "cifar10_patches")
SCENES = "scenes"
"""The metric that needs neither an extractor nor a reference."""


@dataclass(frozen=True)
class Evaluation(Record):
    """Scores, and everything that is needed to measure them again.

    Attributes:
        scores: the scores, each with its 95 % interval and its extractor.
        samples: the number of images and their source.
        reference: the number of real images and their source; empty for the metric scenes.
        extractors: name and fingerprint of each extractor.
        options: metrics, resamples and seed.
        command: the command line of the measurement.
        commit: the git commit of the source code; "" if unknown.
        date: date and time in UTC.
        threads: CPU threads of torch.
        demask: the version of Demask.
    """

    scores: tuple[Score, ...]
    samples: Mapping[str, Any]
    reference: Mapping[str, Any]
    extractors: tuple[Mapping[str, str], ...]
    options: Mapping[str, Any]
    command: str = field(default_factory=command_line)
    commit: str = field(default_factory=commit)
    date: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    threads: int = field(default_factory=torch.get_num_threads)
    demask: str = field(default_factory=lambda: version("demask"))

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A row for each score."""
        return [asdict(score) for score in self.scores]

    def __getitem__(self, metric: str) -> Score:
        """The first score of a metric.

        Raises:
            KeyError: the metric was not measured.
        """
        return {score.metric: score for score in reversed(self.scores)}[metric]


def evaluate(
    samples: Generator | str | Path,
    reference: str | Path | None = None,
    conditions: ConditionInput | Sequence[ConditionInput] = None,
    num_images: int = 1000,
    seed: int = 0,
    batch_size: int = 64,
    *,
    extractors: str | Sequence[str] = (),
    metrics: str | Sequence[str] = (),
    resamples: int = RESAMPLES,
    cache: Path | None = None,
    device: str | None = None,
    progress: Progress = silent,
    **settings: Unpack[SettingsKwargs],
) -> Evaluation:
    """Compare the images of a model, or images from files, with real images.

    Args:
        samples: a generator; or an .npz file or a folder of images.
        reference: real images: an .npz file, or a source for `demask.data.open_images`. The metric
            ``scenes`` needs none.
        conditions: the conditions of the model's images; see `Generator.generate`.
        num_images: the number of images that the model generates.
        seed: seed of the first image, and of the random halves of the intervals.
        batch_size: images of a batch.
        extractors: rows of `EXTRACTORS`, such as ``inception:weights=PATH``; by default the two
            that ship with Demask.
        metrics: rows of `demask.evaluation.metrics.METRICS`; by default all that can be measured.
        resamples: random halves for the intervals; 0 = no intervals.
        cache: the folder of the reference's features; by default ``~/.cache/demask``.
        device: the device of the extractors; by default a GPU if there is one.
        progress: shows the progress.
        settings: settings of the model, as in `Generator.generate`.

    Raises:
        ValueError: an unknown name, files that cannot be read, too few images, or settings that
            the model does not support. Names and files are checked before any image is generated.
    """
    names, networks = texts("metrics", metrics), texts("extractors", extractors)
    if whole_number("resamples", resamples) < 0 or resamples == 1:
        raise ValueError(f"resamples must be 0, or at least 2, not {resamples}")
    check_device(device)
    check_sources(samples, reference)
    options = {"metrics": names, "resamples": resamples, "seed": seed}
    inputs = [conditions] if isinstance(conditions, str | int) else conditions
    if SCENES in names:
        refuse_with_scenes(names, reference, networks)
        made, found = evaluate_scenes(
            samples, inputs, num_images, seed, batch_size, progress, **settings
        )
        return Evaluation(tuple(found), facts_of(made), {}, (), options)
    for name in names:
        METRICS[name]
    path = named(reference)
    open_reference(path)
    loaded = [load_extractor(name, device or default_device()) for name in networks or SHIPPED]
    given = open_samples(samples, inputs, num_images, seed, batch_size, settings)
    pairs, facts = features_of_both(given, path, loaded, cache, progress)
    scores = chain.from_iterable(measure(*pair, names or None, seed, resamples) for pair in pairs)
    described = tuple({"name": e.name, "fingerprint": e.fingerprint} for e in loaded)
    return Evaluation(tuple(scores), facts_of(given), facts, described, options)


def named(reference: str | Path | None) -> str | Path:
    """The reference, which every metric but scenes needs.

    Raises:
        ValueError: there is none.
    """
    if reference is None:
        raise ValueError("reference is missing: name the real images to compare with")
    return reference


def check_sources(samples: object, reference: object) -> None:
    """Raise a ValueError for images that are neither a generator nor a path."""
    if not isinstance(samples, Generator | str | Path):
        raise ValueError(f"samples must be a generator or a path, not {samples!r}")
    if not isinstance(reference, str | Path | None):
        raise ValueError(f"reference must be a path, not {reference!r}")


def features_of_both(
    samples: Samples,
    reference: str | Path,
    extractors: Sequence[Extractor],
    cache: Path | None,
    progress: Progress,
) -> tuple[list[tuple[Features, Features]], dict[str, Any]]:
    """The features of samples and reference by each extractor, and facts of the reference.

    Raises:
        ValueError: images of several sizes, or a reference of other classes or of another size.
    """
    with progress("features of the samples", samples.count) as done:
        mine = extract_all(samples.batches(), extractors, done)
    mine = [with_meaning(f, e, samples) for f, e in zip(mine, extractors, strict=True)]
    real, facts = features_of_reference(
        reference, mine[0].size, samples.class_names, extractors, cache, progress
    )
    return list(zip(mine, real, strict=True)), facts


def open_samples(
    samples: Generator | str | Path,
    conditions: Sequence[ConditionInput] | None,
    num_images: int,
    seed: int,
    batch_size: int,
    settings: SettingsKwargs,
) -> Samples:
    """The images to measure; none is read or generated yet.

    Raises:
        ValueError: they cannot be read, or the model does not support the settings.
    """
    if isinstance(samples, Generator):
        return generated_samples(samples, conditions, num_images, seed, batch_size, settings)
    if settings:
        raise ValueError(f"{', '.join(settings)}: settings are for a generator, not for files")
    return read_samples(Path(samples))


def facts_of(samples: Samples) -> dict[str, Any]:
    """The number of images and their source."""
    return {"count": samples.count, **samples.facts}


def refuse_with_scenes(
    metrics: Sequence[str], reference: object, extractors: Sequence[str]
) -> None:
    """Raise a ValueError for inputs that the metric scenes does not use."""
    if set(metrics) != {SCENES}:
        raise ValueError("the metric scenes cannot be combined with others; leave them out")
    unused = {"reference": reference, "extractors": extractors}
    if given := [name for name, value in unused.items() if value]:
        raise ValueError(f"the metric scenes needs no {' and no '.join(given)}; leave it out")

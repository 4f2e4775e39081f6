"""What `demask evaluate` looks at: samples from files or from a model, and the real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demask.cli.options import ModelChoice, condition_inputs
from demask.cli.progress import counting

if TYPE_CHECKING:
    from demask.conditioning import ConditionInput
    from demask.data.images import ImageDataset
    from demask.evaluation.extractors import Extractor
    from demask.evaluation.features import Batch, Features
    from demask.generator import Generator


@dataclass(frozen=True)
class Samples:
    """The images to measure, and what is known of them.

    Attributes:
        batches: begins to read or generate them.
        count: how many there are.
        class_names: what their classes mean; empty where that is not known.
        words: what each was meant to show in words; empty where that is not known.
        facts: where they came from, for the report.
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
    from demask.bulk.folder import SHEET
    from demask.data import open_images
    from demask.data.images import Subset
    from demask.evaluation.images import in_batches, open_npz

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


def samples_of_model(
    choice: ModelChoice,
    prompts: tuple[str, ...],
    classes: tuple[str, ...],
    count: int,
    seed: int,
    batch_size: int,
    settings: dict[str, Any],
) -> Samples:
    """Images that a model will generate; none of them is kept.

    Raises:
        ValueError: no such model, or settings that it refuses.
    """
    generator = choice.load(settings.get("preset"))
    conditions = condition_inputs(prompts, classes, generator)
    made = generated_samples(generator, conditions, count, seed, batch_size, settings)
    asked = {"classes": list(classes), "prompts": list(prompts)}
    return replace(made, facts={"model": asdict(choice), **asked, **made.facts})


def generated_samples(
    generator: Generator,
    conditions: Sequence[ConditionInput] | None,
    count: int,
    seed: int,
    batch_size: int,
    settings: dict[str, Any],
) -> Samples:
    """Images that a loaded model will generate; none of them is kept.

    Raises:
        ValueError: settings that the model refuses.
    """
    from demask.bulk.generate import generate_jobs
    from demask.evaluation.images import in_batches

    jobs = generator.jobs(conditions, count, seed, batch_size, **settings)
    shown = [
        generator.conditioner.parse(condition_input)
        for condition_input in generator.condition_inputs(conditions)
    ]
    words = tuple(shown[i % len(shown)].prompt for i in range(count))

    def batches() -> Iterator[Batch]:
        return in_batches((p.image, p.label) for p in generate_jobs(generator, jobs))

    facts = {
        "settings": asdict(generator.chosen(**settings)),
        "seed": seed,
        "batch_size": batch_size,
    }
    return Samples(batches, count, tuple(generator.class_names), words, facts)


def meaningful(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names; none where there is one class, or where they are only numbers."""
    return () if len(names) < 2 or all(name.isdecimal() for name in names) else names


def with_meaning(features: Features, extractor: Extractor, samples: Samples) -> Features:
    """Features with their classes as the extractor counts them, and with their words."""
    import torch

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
    said = [f"a photo of a {word}" if word in names else word for word in words]
    return replace(features, labels_N=labels_N, texts_ND=reads(said))


def see_reference(
    path: str,
    size: tuple[int, int],
    class_names: tuple[str, ...],
    extractors: list[Extractor],
    cache: Path | None,
) -> tuple[list[Features], dict[str, Any]]:
    """The features of the real images, cut and resampled to the samples' size; and facts.

    Raises:
        ValueError: they cannot be read, or have other classes or, in an NPZ file, another size.
    """
    from demask.data import open_images
    from demask.evaluation.features import reference_features
    from demask.evaluation.images import open_npz

    if Path(path).suffix == ".npz":
        npz = open_npz(Path(path))
        if npz.size != size:
            raise ValueError(
                f"the samples have {size[1]}x{size[0]} pixels, the reference "
                f"{npz.size[1]}x{npz.size[0]}"
            )
        data, count, batches = npz.fingerprint, len(npz), npz.batches
    else:
        images = open_images(path)
        check_classes(class_names, meaningful(images.class_names))
        data, count = f"{images.fingerprint} {size[0]}x{size[1]}", len(images)
        batches = lambda: at_size(images, size)  # noqa: E731
    seen = []
    for extractor in extractors:
        with counting(f"{extractor.name} looking at the reference", count) as progress:
            seen.append(reference_features(batches, data, extractor, cache, progress))
    return seen, {"path": path, "data": data, "count": count}


def check_classes(samples: tuple[str, ...], reference: tuple[str, ...]) -> None:
    """Raise a ValueError where both sides name their classes and do not agree."""
    if samples and reference and set(samples) != set(reference):
        other = sorted(set(reference) ^ set(samples))
        raise ValueError(
            f"the reference has other classes than the samples: {', '.join(other[:8])} "
            f"{'...' if len(other) > 8 else ''}on one side only"
        )


def at_size(images: ImageDataset, size: tuple[int, int]) -> Iterator[Batch]:
    """The images as batches, cut and resampled to a height and width."""
    from demask.data.transforms import cover
    from demask.evaluation.images import in_batches

    read = (images[i] for i in range(len(images)))
    return in_batches((cover(p.image, *size), p.label) for p in read)

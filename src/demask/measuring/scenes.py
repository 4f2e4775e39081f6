"""The metric ``scenes``: faithfulness and diversity of scenes by an exact scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demask.conditioning import ConditionInput
from demask.data import open_images
from demask.evaluation.images import in_batches
from demask.evaluation.metrics import Score
from demask.evaluation.scenes_scores import (
    Judged,
    diversity_scores,
    faithfulness,
    held_out_captions,
    judge,
    open_captions,
    wanted_of,
)
from demask.generator import Generator
from demask.measuring.records import Progress, silent
from demask.measuring.samples import Samples, generated_samples
from demask.scenes.vocabulary import SHAPES, SIDE

EACH = 200
"""The most images of each caption that names only a shape."""

SHARE_OPEN = 5
"""One image of each such caption is generated per this many images of held-out captions."""


def evaluate_scenes(
    samples: Generator | str | Path,
    conditions: Sequence[ConditionInput] | None,
    num_images: int,
    seed: int,
    batch_size: int,
    progress: Progress = silent,
    **settings: Any,
) -> tuple[Samples, list[Score]]:
    """Judge images from files or of a model: faithfulness, then diversity.

    Args:
        samples: a model, or images with captions or in folders of classes.
        conditions: captions or classes; None = held-out captions, or all classes.
        num_images: number of images of held-out captions, or of classes.
        seed: seed of the first image, and of the true samples of the floors.
        batch_size: images of a batch.
        progress: shows the number of images judged.
        settings: settings of the model.

    Raises:
        ValueError: images or captions that are not of scenes, or settings that the model does not
            support.
    """
    if num_images < 1:
        raise ValueError(f"the number of images must be at least 1, not {num_images}")
    if not isinstance(samples, Generator):
        read = captioned_samples(Path(samples))
        judged = judged_samples(read, progress)
        of_classes = [one for one in judged if isinstance(one.wanted, str)]
        return read, [*faithfulness(judged), *diversity_scores(of_classes, seed)]
    check_model(samples)
    made, number_open = model_samples(samples, conditions, num_images, seed, batch_size, settings)
    judged = judged_samples(made, progress)
    closed = judged if samples.class_names else judged[: made.count - number_open]
    spread = diversity_scores(judged[made.count - number_open :], seed)
    return made, [*faithfulness(closed), *spread]


def model_samples(
    generator: Generator,
    conditions: Sequence[ConditionInput] | None,
    num_images: int,
    seed: int,
    batch_size: int,
    settings: Any,
) -> tuple[Samples, int]:
    """The images of a model, and how many of the last ones measure diversity."""
    count, number_open = num_images, 0
    if conditions is None and not generator.class_names:
        each = min(EACH, count // SHARE_OPEN)
        conditions = [*held_out_captions(count), *open_captions(each)]
        number_open = (len(conditions) - count) if each else 0
        count = len(conditions)
    made = generated_samples(generator, conditions, count, seed, batch_size, settings)
    if not generator.class_names:
        return made, number_open
    inputs = generator.conditioner.condition_inputs(conditions)
    parsed = [generator.conditioner.parse(condition_input) for condition_input in inputs]
    names = [generator.class_names[one.label] for one in parsed]
    return replace(made, words=tuple(names[i % len(names)] for i in range(count))), count


def check_model(generator: Generator) -> None:
    """Raise a ValueError unless a model generates images of scenes."""
    if generator.size != (SIDE, SIDE) or not set(generator.class_names) <= set(SHAPES):
        height, width = generator.size
        classes = f" of {len(generator.class_names)} classes" if generator.class_names else ""
        raise ValueError(
            f"{generator.name} generates {width}x{height} pixels{classes}; the metric scenes is "
            f"for {SIDE}x{SIDE} scenes of captions or of the classes {', '.join(SHAPES)}"
        )


def captioned_samples(path: Path) -> Samples:
    """Images with captions of scenes, or in folders that are named after the shapes.

    Raises:
        ValueError: they cannot be read, or some have no caption.
    """
    images = open_images(str(path), strict=True)
    read = [images[i] for i in range(len(images))]
    words = [p.captions[0] if p.captions else images.class_names[p.label] for p in read]
    facts = {"path": str(path), "data": images.fingerprint}
    batches = lambda: in_batches((p.image, p.label) for p in read)  # noqa: E731
    return Samples(batches, len(read), words=tuple(words), facts=facts)


def judged_samples(samples: Samples, progress: Progress) -> list[Judged]:
    """Generate or read images and judge them batch by batch, after all captions are parsed.

    Raises:
        ValueError: a caption that is not of a scene, or images of another size.
    """
    wanted = [wanted_of(words) for words in samples.words]
    judged: list[Judged] = []
    with progress("judging images", samples.count) as done:
        for pixels_BHWC, _ in samples.batches():
            here = wanted[len(judged) : len(judged) + len(pixels_BHWC)]
            judged += judge(pixels_BHWC.numpy(), here)
            done(len(judged))
    return judged

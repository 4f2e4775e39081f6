"""Prompts that are captions of real images, for the metric retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from demask import rng
from demask.data.captions import normalized
from demask.data.images import ImageDataset
from demask.data.transforms import cover
from demask.evaluation.extractors import Extractor
from demask.evaluation.features import Features, extract_all
from demask.evaluation.images import in_batches
from demask.fingerprint import fingerprint


@dataclass(frozen=True)
class Names:
    """Prompts, and the real images of which they are captions.

    Attributes:
        features: the features of all real images, for each extractor; the labels are the numbers
            of the images, and identical images have the same number.
        answers: prompt -> the number of its image.
        condition_inputs: the prompts in random order.
        fingerprint: hash of the images and the prompts.
    """

    features: list[Features]
    answers: dict[str, int]
    condition_inputs: tuple[str, ...]
    fingerprint: str


def read_names(
    samples: ImageDataset,
    size: tuple[int, int],
    extractors: Sequence[Extractor],
    leave_out: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Names:
    """The main captions that belong to exactly one image.

    Args:
        samples: images with captions.
        size: height and width in pixels to which the images are cropped and resized.
        extractors: the extractors.
        leave_out: captions that contain one of these texts are not used as prompts; their images
            remain candidates.
        progress: called with the number of images done.

    Raises:
        ValueError: no caption is left.
    """
    first: dict[bytes, int] = {}
    named: dict[str, set[int]] = {}
    spelt: dict[str, str] = {}

    def read() -> Iterator[tuple[Image.Image, int]]:
        for index in range(len(samples)):
            sample = samples[index]
            image = cover(sample.image, *size)
            number = first.setdefault(image.tobytes(), index)
            for caption in sample.captions[:1]:
                if not any(word in normalized(caption) for word in leave_out):
                    named.setdefault(normalized(caption), set()).add(number)
                    spelt.setdefault(normalized(caption), caption)
            yield image, number

    features = extract_all(in_batches(read()), extractors, progress)
    answers = {spelt[n]: min(found) for n, found in named.items() if len(found) == 1}
    if not answers:
        raise ValueError("retrieval needs a reference with captions, each of one image")
    condition_inputs = tuple(
        sorted(answers, key=lambda name: rng.derive(0, "name to generate", name))
    )
    told = fingerprint(samples.fingerprint, *size, *(f"{n} {answers[n]}" for n in condition_inputs))
    return Names(features, answers, condition_inputs, told)

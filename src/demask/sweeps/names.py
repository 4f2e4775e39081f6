"""What a model of prompts paints: the names of real pictures, which must then be found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from demask import rng
from demask.data.captions import same
from demask.data.pictures import Pictures, fingerprint
from demask.data.transforms import cover
from demask.evaluation.extractors import Extractor
from demask.evaluation.features import Features, extract_all
from demask.evaluation.pictures import in_batches


@dataclass(frozen=True)
class Names:
    """Prompts, and the real pictures that answer them.

    Attributes:
        features: what each extractor saw in all real pictures, whose labels number them; pictures
            that are equal to the pixel have one number.
        answers: the number of each name's picture.
        wishes: the names in random order, so that the first few are of all kinds.
        fingerprint: of all this.
    """

    features: list[Features]
    answers: dict[str, int]
    wishes: tuple[str, ...]
    fingerprint: str


def read_names(
    pictures: Pictures,
    size: tuple[int, int],
    extractors: Sequence[Extractor],
    leave_out: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Names:
    """The main captions of pictures, each of which names one.

    Args:
        pictures: with captions.
        size: height and width that they are cut and resampled to.
        extractors: look at them.
        leave_out: captions that hold one of these words are no names; their pictures stay.
        progress: is told how many pictures were seen.

    Raises:
        ValueError: no caption is left.
    """
    first: dict[bytes, int] = {}
    named: dict[str, set[int]] = {}
    spelt: dict[str, str] = {}

    def read() -> Iterator[tuple[Image.Image, int]]:
        for index in range(len(pictures)):
            picture = pictures[index]
            image = cover(picture.image, *size)
            number = first.setdefault(image.tobytes(), index)
            for caption in picture.captions[:1]:
                if not any(word in same(caption) for word in leave_out):
                    named.setdefault(same(caption), set()).add(number)
                    spelt.setdefault(same(caption), caption)
            yield image, number

    features = extract_all(in_batches(read()), extractors, progress)
    answers = {spelt[n]: min(found) for n, found in named.items() if len(found) == 1}
    if not answers:
        raise ValueError("retrieval needs a reference with captions, each of one picture")
    wishes = tuple(sorted(answers, key=lambda name: rng.derive(0, "name to paint", name)))
    told = fingerprint(pictures.fingerprint, *size, *(f"{n} {answers[n]}" for n in wishes))
    return Names(features, answers, wishes, told)

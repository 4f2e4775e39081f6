"""Scenes as a source of images, computed from their seeds on access.

Three sources, each followed by ``:SEED,COUNT``; image i has seed SEED + i:

- ``scenes``: captioned scenes without held-out combinations; the class is the kind of the caption;
- ``scenes_unseen``: captioned scenes, each with a held-out combination;
- ``scenes_classes``: all objects of a scene have one shape, which is the class; no captions.

Training, validation and held-out evaluation have disjoint ranges of seeds: 0 to 999,999,999,
1,000,000,000 to 1,999,999,999 and 2,000,000,000 to 2,999,999,999. A source lies within one range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from demask.data.classes import number_names
from demask.data.images import ImageSample
from demask.fingerprint import fingerprint
from demask.scenes import Sample, Scene, class_scene, draw, sample, unseen_sample
from demask.scenes.law import RANGE
from demask.scenes.vocabulary import KINDS, SHAPES

VERSION = 1
"""Part of the fingerprint; raised with every change that makes other images or captions."""

Labelled = tuple[Scene, int, tuple[str, ...]]
"""A scene, its class number and its captions."""


def captioned(drawn: Sample) -> Labelled:
    """A sample with the kind of its caption as its class."""
    return drawn.scene, KINDS.index(drawn.requirement.kind), drawn.captions


@dataclass(frozen=True)
class SceneLaw:
    """A distribution of scenes.

    Attributes:
        at: seed -> scene, class number and captions.
        class_names: the names of the class numbers.
    """

    at: Callable[[int], Labelled]
    class_names: tuple[str, ...]


LAWS = {
    "scenes": SceneLaw(lambda seed: captioned(sample(seed)), KINDS),
    "scenes_unseen": SceneLaw(lambda seed: captioned(unseen_sample(seed)), KINDS),
    "scenes_classes": SceneLaw(lambda seed: (*class_scene(seed), ()), SHAPES),
}
"""The distributions by the name of their source."""

SOURCE = re.compile(rf"({'|'.join(LAWS)}):(.*)")


class SceneImages:
    """Scenes of consecutive seeds.

    Args:
        law: a name in `LAWS`.
        seed: the seed of the first scene.
        count: the number of scenes.
        class_names: the order of the classes; by default that of the law.

    Raises:
        ValueError: no scenes, seeds outside one range, or a class that is not in ``class_names``.
    """

    def __init__(
        self, law: str, seed: int, count: int, class_names: Sequence[str] | None = None
    ) -> None:
        if count < 1 or not 0 <= seed < 3 * RANGE or seed % RANGE + count > RANGE:
            raise ValueError(
                f"{law}:{seed},{count} is out of range; valid: at least one scene, all seeds in "
                f"one of 0 to 999999999 (training), 1000000000 to 1999999999 (validation), "
                f"2000000000 to 2999999999 (held out)"
            )
        self.law, self.seed, self.count = law, seed, count
        self.class_names, self._numbers = number_names(LAWS[law].class_names, class_names)

    @property
    def fingerprint(self) -> str:
        """A hash of the law, `VERSION`, the seeds and the classes."""
        return fingerprint(self.law, VERSION, self.seed, self.count, *self.class_names)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> ImageSample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        seed = self.seed + index
        scene, label, captions = LAWS[self.law].at(seed)
        image = Image.fromarray(draw(scene))
        return ImageSample(image, self._numbers[label], f"{self.law}:{seed}", captions)


def open_scenes(
    source: str,
    class_names: Sequence[str] | None = None,
    caption_columns: Sequence[str] | None = None,
) -> SceneImages | None:
    """Open ``scenes:SEED,COUNT``, ``scenes_unseen:...`` or ``scenes_classes:...``; else None.

    Raises:
        ValueError: seed and count are not such numbers, or caption columns are named.
    """
    match = SOURCE.fullmatch(source)
    if not match:
        return None
    law, numbers = match.groups()
    if not (found := re.fullmatch(r"(\d{1,12}),(\d{1,12})", numbers)):
        raise ValueError(f"can't read {source}; valid: {law}:SEED,COUNT, such as {law}:0,1000")
    if caption_columns:
        raise ValueError(f"{source} has no caption columns; its captions are computed")
    return SceneImages(law, int(found[1]), int(found[2]), class_names)

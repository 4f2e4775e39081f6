"""The metric `scenes`: faithfulness by kind of caption, clean share, diversity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demask.evaluation.metric import Score
from demask.evaluation.scenes_diversity import Distance, diversity
from demask.evaluation.scenes_faithfulness import is_of_class, is_right
from demask.evaluation.scenes_parser import ParsedScene, parse_scenes
from demask.evaluation.scenes_truth import truth_of
from demask.evaluation.statistics import NORMAL_95, wilson
from demask.scenes.captions import parse_caption
from demask.scenes.law import HELD_OUT_SEED, sample, unseen_sample
from demask.scenes.vocabulary import KINDS, SHAPES, UNSEEN_KINDS, Requirement, Scene

SCENES = "scenes"
"""The name of the metric."""

Wanted = Requirement | str
"""What an image should show: the requirement of a caption, or a shape as its class."""


@dataclass(frozen=True)
class Judged:
    """A parsed image, what it should show, and whether it does."""

    wanted: Wanted
    parsed: ParsedScene
    right: bool


def wanted_of(text: str) -> Wanted:
    """The requirement of a caption, or the name of a class.

    Raises:
        ValueError: the text is neither a caption of scenes nor a shape.
    """
    return text if text in SHAPES else parse_caption(text)


def judge(images_BHW3: np.ndarray, wanted: Sequence[Wanted]) -> list[Judged]:
    """Parse images and compare each with what it should show.

    Args:
        images_BHW3: (B, 64, 64, 3) uint8.
        wanted: what each image should show (B).

    Raises:
        ValueError: images of another shape, type or number.
    """
    if len(images_BHW3) != len(wanted):
        raise ValueError(f"{len(images_BHW3)} images, but {len(wanted)} requirements")
    return [
        Judged(want, parsed, agrees(parsed, want))
        for parsed, want in zip(parse_scenes(images_BHW3), wanted, strict=True)
    ]


def agrees(parsed: ParsedScene, wanted: Wanted) -> bool:
    """Whether an image shows what it should: `is_of_class` or `is_right`."""
    return is_of_class(parsed, wanted) if isinstance(wanted, str) else is_right(parsed, wanted)


def faithfulness(judged: Sequence[Judged]) -> list[Score]:
    """Faithfulness and clean share of judged images.

    Returns:
        The fraction of right images with its Wilson interval: of all seen captions, of all unseen
        ones and of each kind, or of all classes and of each; then the mean clean fraction.

    Raises:
        ValueError: no images.
    """
    if not judged:
        raise ValueError("no images of scenes to score")
    groups: dict[str, list[bool]] = {}
    for one in judged:
        for group in groups_of(one.wanted):
            groups.setdefault(group, []).append(one.right)
    order = [*map(str, all_groups()), *groups]
    shares = [share(name, groups[name]) for name in sorted(groups, key=order.index)]
    clean_B = np.array([one.parsed.clean for one in judged])
    mean, spread = float(clean_B.mean()), NORMAL_95 * float(clean_B.std()) / math.sqrt(len(judged))
    low, high = max(mean - spread, 0.0), min(mean + spread, 1.0)
    return [*shares, Score("clean share", mean, low, high, SCENES, "", "highest")]


def groups_of(wanted: Wanted) -> tuple[str, str]:
    """The names of the scores that an image counts for."""
    if isinstance(wanted, str):
        return "right", f"right, {wanted}"
    seen = "unseen" if wanted.unseen else "seen"
    return f"right, {seen}", f"right, {seen}, {wanted.kind}"


def all_groups() -> list[str]:
    """The names of all scores, in the order of a table."""
    seen = ["right, seen", *(f"right, seen, {kind}" for kind in KINDS)]
    unseen = ["right, unseen", *(f"right, unseen, {kind}" for kind in UNSEEN_KINDS)]
    return [*seen, *unseen, "right", *(f"right, {shape}" for shape in SHAPES)]


def share(name: str, right: Sequence[bool]) -> Score:
    """The score of the fraction of right images."""
    hits, count = sum(right), len(right)
    return Score(name, hits / count, *wilson(hits, count), SCENES, "", "highest")


def diversity_scores(judged: Sequence[Judged], seed: int = 0) -> list[Score]:
    """The distances of the right images from the true distribution, each with its floor.

    Args:
        judged: several images of each caption of one object or class. Images of captions of
            several objects are ignored.
        seed: seed of the true samples of the floor.

    Returns:
        For each attribute the total variation distance, averaged over captions or classes, then
        the mean distance of as many true samples with the interval of 95 % of them; last the
        number of distinct scenes and that of true samples. Empty if no such image is right.
    """
    groups: dict[Wanted, list[Scene | ParsedScene]] = {}
    for one in judged:
        if one.right and truth_of(one.wanted) is not None:
            groups.setdefault(one.wanted, []).append(one.parsed)
    return [score for found in diversity(groups, seed) for score in distance_scores(found)]


def distance_scores(found: Distance) -> tuple[Score, Score]:
    """The scores of a distance and of its floor."""
    distinct = found.attribute == "distinct"
    name = "distinct scenes" if distinct else f"{found.attribute} distance"
    best = "highest" if distinct else "lowest"
    floor = found.floor, found.floor_low, found.floor_high
    return (
        Score(name, found.value, None, None, SCENES, "", best),
        Score(f"{name} of as many true scenes", *floor, SCENES, "", ""),
    )


def held_out_captions(count: int) -> list[str]:
    """Main captions of held-out seeds, alternately of each seen and each unseen kind."""
    groups = [(kind, False) for kind in KINDS] + [(kind, True) for kind in UNSEEN_KINDS]
    waiting: dict[tuple[str, bool], list[str]] = {group: [] for group in groups}
    rounds, seed = math.ceil(count / len(groups)), HELD_OUT_SEED
    while any(len(captions) < rounds for captions in waiting.values()):
        for drawn, unseen in ((sample(seed), False), (unseen_sample(seed), True)):
            waiting[drawn.requirement.kind, unseen].append(drawn.captions[0])
        seed += 1
    return [waiting[groups[i % len(groups)]][i // len(groups)] for i in range(count)]


def open_captions(each: int) -> list[str]:
    """Captions that name only a shape: all eight shapes, ``each`` times."""
    return [f"a {shape}" for _ in range(each) for shape in SHAPES]

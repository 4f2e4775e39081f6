"""The metric scenes: groups, intervals, and distances from the true distribution."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from demask.evaluation.metrics import Score
from demask.evaluation.scenes_diversity import Distance, diversity, total_variation
from demask.evaluation.scenes_scores import (
    diversity_scores,
    faithfulness,
    held_out_captions,
    judge,
    open_captions,
    wanted_of,
)
from demask.evaluation.scenes_truth import caption_truth, class_truth, position_shares
from demask.evaluation.statistics import wilson
from demask.scenes import Requirement, Sample, Scene, class_scene, draw, parse_caption, sample
from demask.scenes.vocabulary import COLOURS, KINDS, SHAPES, UNSEEN_KINDS, seen_colours

FIRST = 2_800_000_000
Groups = dict[Requirement | str, list[Scene]]


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


@pytest.fixture(scope="module")
def truth() -> list[Sample]:
    return [sample(seed) for seed in range(FIRST, FIRST + 10000)]


@pytest.fixture(scope="module")
def groups(truth: list[Sample]) -> Groups:
    """True scenes of each caption of one object, those with 8 or more."""
    found: Groups = defaultdict(list)
    for drawn in truth:
        if len(drawn.requirement.shapes) == 1:
            found[drawn.requirement].append(drawn.scene)
    return {wanted: scenes for wanted, scenes in found.items() if len(scenes) >= 8}


def test_wilson() -> None:
    """Against the numbers of Newcombe, "Two-sided confidence intervals", 1998, table I."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(15, 148)
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)
    low, high = wilson(0, 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)
    low, high = wilson(29, 29)
    assert (round(low, 4), high) == (0.8830, 1.0)
    for hits, count in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="is no share"):
            wilson(hits, count)


def test_groups_of_scores() -> None:
    captions = held_out_captions(200)
    drawn = [parse_caption(text) for text in captions]
    kinds = Counter((one.kind, one.unseen) for one in drawn)
    assert kinds == {**{(k, False): 20 for k in KINDS}, **{(k, True): 20 for k in UNSEEN_KINDS}}
    assert captions[:30] == held_out_captions(30)
    images = np.zeros((200, 64, 64, 3), np.uint8)
    scores = by_name(faithfulness(judge(images, drawn)))
    assert len(scores) == 2 + len(KINDS) + len(UNSEEN_KINDS) + 1
    assert scores["right, seen"].value == 0
    assert scores["right, unseen, counting"].high == pytest.approx(wilson(0, 20)[1])
    assert scores["clean share"].value == 1


def test_one_wrong_image_counts_once() -> None:
    drawn = [sample(FIRST + i) for i in range(60)]
    images = np.stack([draw(one.scene) for one in drawn])
    images[7] = 0
    scores = by_name(faithfulness(judge(images, [one.requirement for one in drawn])))
    kind = drawn[7].requirement.kind
    assert scores["right, seen"].value == pytest.approx(59 / 60)
    assert [name for name, score in scores.items() if name.startswith("right") and score.value < 1]
    assert scores[f"right, seen, {kind}"].value < 1
    with pytest.raises(ValueError, match="60 images, but 59 requirements"):
        judge(images, [one.requirement for one in drawn[1:]])
    with pytest.raises(ValueError, match="no images"):
        faithfulness(judge(images[:0], []))


def test_the_law_is_its_closed_form(groups: Groups) -> None:
    """Scenes are as far from the closed form as random numbers of that distribution are."""
    assert len(groups) > 10
    assert any(wanted.background for wanted in groups if isinstance(wanted, Requirement))
    for found in diversity(groups):
        slack = 0.5 * (found.floor_high - found.floor_low)
        assert found.floor_low - slack <= found.value <= found.floor_high + slack, found


def test_colours_of_two_objects_follow_the_law(truth: list[Sample]) -> None:
    counts, allowed = Counter[tuple[str, str]](), [(s, c) for s in SHAPES for c in seen_colours(s)]
    for drawn in truth:
        if drawn.requirement.kind == "two_objects" and drawn.requirement.background is None:
            counts.update((thing.shape, thing.colour) for thing in drawn.scene.objects)
    shares = np.array([1 / 8 / len(seen_colours(shape)) for shape, _ in allowed])
    found = np.array([counts[pair] for pair in allowed])
    assert found.sum() == counts.total() > 1500
    assert total_variation(found, shares) < 0.11  # 0.08 are expected of as many samples


def by_attribute(groups: Groups) -> dict[str, Distance]:
    return {found.attribute: found for found in diversity(groups)}


def test_planted_narrowness_is_found(groups: Groups) -> None:
    stars = {w: s for w, s in groups.items() if w == parse_caption("a star")}
    assert stars
    plain = by_attribute(stars)

    def changed(**changes: object) -> dict[str, Distance]:
        def change(scene: Scene) -> Scene:
            return replace(scene, objects=tuple(replace(o, **changes) for o in scene.objects))  # type: ignore[arg-type]

        return by_attribute({w: [change(scene) for scene in s] for w, s in stars.items()})

    red = changed(colour="red")
    assert red["colour"].value == pytest.approx(1 - 1 / len(seen_colours("star")))
    assert red["size"] == plain["size"]
    assert red["distinct"].value < plain["distinct"].value
    small = changed(radius=8.5)
    assert small["size"].value == 0.5 > small["size"].floor_high
    middle = changed(x=33.0, y=33.0)
    assert middle["position"].value > 0.5 > middle["position"].floor_high
    grey = by_attribute({w: [replace(x, background="white") for x in s] for w, s in stars.items()})
    assert grey["background"].value > 0.5 > grey["background"].floor_high


def test_closed_forms() -> None:
    joint = caption_truth(parse_caption("a small red star on a blue background")).joint
    assert joint.sum() == pytest.approx(1)
    assert joint[COLOURS.index("red"), COLOURS.index("blue"), 0].sum() == pytest.approx(1)
    shares = caption_truth(parse_caption("a star")).shares
    assert shares["colour"][COLOURS.index("white")] == 0  # held out
    assert shares["colour"].max() == pytest.approx(1 / 9)
    on_red = caption_truth(parse_caption("a star on a red background")).shares
    assert on_red["colour"].max() == pytest.approx(1 / 8)
    assert on_red["background"][COLOURS.index("red")] == pytest.approx(1)
    places = position_shares("large").reshape(4, 4)
    assert places.sum() == pytest.approx(1)
    assert np.allclose(places, places.T)
    assert np.allclose(places, places[::-1])
    # a radius of 12 to 14 leaves 14 to 16, of 32 to 36 pixels, at either end
    assert 0 < places[0, 0] < 0.01 < places[1, 1]
    with pytest.raises(ValueError, match="closed form"):
        caption_truth(parse_caption("two stars"))


def test_classes_are_measured_too() -> None:
    scenes = [class_scene(FIRST + i) for i in range(320)]
    images = np.stack([draw(scene) for scene, _ in scenes])
    judged = judge(images, [SHAPES[label] for _, label in scenes])
    scores = by_name(diversity_scores(judged))
    for name in ("number", "colour", "background", "size", "position"):
        floor = scores[f"{name} distance of as many true scenes"]
        assert floor.low is not None
        assert floor.high is not None
        slack = 0.5 * (floor.high - floor.low)
        assert floor.low - slack <= scores[f"{name} distance"].value <= floor.high + slack
    shares = class_truth().shares
    assert np.allclose(shares["number"], 0.25, atol=0.02)
    assert np.allclose(shares["colour"], 0.1, atol=0.01)
    one = [each for each in judged if len(each.parsed.objects) == 1]
    assert by_name(diversity_scores(one))["number distance"].value == pytest.approx(0.75, abs=0.02)


def test_only_right_images_are_measured() -> None:
    captions = open_captions(2)
    assert len(captions) == 16
    assert len(set(captions)) == 8
    judged = judge(np.zeros((16, 64, 64, 3), np.uint8), [wanted_of(text) for text in captions])
    assert diversity_scores(judged) == []
    assert wanted_of("star") == "star"
    with pytest.raises(ValueError, match="not a caption"):
        wanted_of("dog")

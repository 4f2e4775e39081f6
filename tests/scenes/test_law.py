"""Scenes follow their law, and are the same everywhere."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import combinations

import pytest

from demask.scenes import Sample, Scene, class_scene, draw, sample, unseen_sample
from demask.scenes.vocabulary import (
    COLOURS,
    KINDS,
    MARGIN,
    RADII,
    RELATIONS,
    SHAPES,
    SIDE,
    UNSEEN_COUNTS,
    UNSEEN_KINDS,
    UNSEEN_PAIRS,
    UNSEEN_RELATIONS,
)

COUNT = 1500


@pytest.fixture(scope="module")
def seen() -> list[Sample]:
    return [sample(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def unseen() -> list[Sample]:
    return [unseen_sample(seed) for seed in range(COUNT)]


def test_the_images_of_a_seed_never_change() -> None:
    """Where this fails on purpose, raise VERSION in demask.data.scenes: token caches are stale."""
    digest = hashlib.blake2b(digest_size=8)
    for seed in (*range(20), 10**9, 2 * 10**9 + 7):
        for drawn in (sample(seed), unseen_sample(seed)):
            digest.update(draw(drawn.scene).tobytes() + "|".join(drawn.captions).encode())
        digest.update(draw(class_scene(seed)[0]).tobytes())
    assert digest.hexdigest() == "ff04cd06b3c0e105"


def check_places(scene: Scene) -> None:
    """Objects keep the margin, and have a radius of their size."""
    for thing in scene.objects:
        low, high = RADII[thing.size]
        assert low <= thing.radius <= high
        assert thing.colour != scene.background
        assert max(map(abs, thing.jitter)) <= 6
        for place in (thing.x, thing.y):
            assert thing.radius + MARGIN <= place <= SIDE - thing.radius - MARGIN
    for a, b in combinations(scene.objects, 2):
        distance = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5
        assert distance >= a.radius + b.radius + MARGIN


def check_requirement(drawn: Sample) -> None:
    """A scene is what its requirement says."""
    required, objects = drawn.requirement, drawn.scene.objects
    assert required.shapes == tuple(thing.shape for thing in objects)
    for thing, colour, size in zip(objects, required.colours, required.sizes, strict=True):
        assert colour in (None, thing.colour)
        assert size in (None, thing.size)
    assert required.background in (None, drawn.scene.background)
    if len(objects) > 2:
        assert {thing.size for thing in objects} == {"small"}
    if required.kind == "counting":
        assert len({(thing.shape, thing.colour, thing.size) for thing in objects}) == 1
    if required.relation:
        x, y = objects[0].x - objects[1].x, objects[0].y - objects[1].y
        along = {"left of": -x, "right of": x, "above": -y, "below": y}[required.relation]
        across = y if required.relation in ("left of", "right of") else x
        assert along >= 14
        assert along > abs(across)


def test_scenes_are_well_formed(seen: list[Sample], unseen: list[Sample]) -> None:
    for drawn in (*seen, *unseen):
        check_places(drawn.scene)
        check_requirement(drawn)
    for seed in range(500):
        scene, label = class_scene(seed)
        check_places(scene)
        assert {thing.shape for thing in scene.objects} == {SHAPES[label]}


def held_out(drawn: Sample) -> list[str]:
    """The held-out combinations in a scene and its captions."""
    objects, kind = drawn.scene.objects, drawn.requirement.kind
    found = ["pair" for o in objects if (o.colour, o.shape) in UNSEEN_PAIRS]
    if kind == "counting" and (len(objects), objects[0].shape) in UNSEEN_COUNTS:
        found.append("count")
    if kind == "position" and frozenset(o.shape for o in objects) in UNSEEN_RELATIONS:
        found.append("relation")
    return found


def test_training_never_sees_what_is_held_out(seen: list[Sample], unseen: list[Sample]) -> None:
    assert (len(UNSEEN_PAIRS), len(UNSEEN_COUNTS), len(UNSEEN_RELATIONS)) == (12, 2, 8)
    for drawn in seen:
        assert not held_out(drawn)
        assert not drawn.requirement.unseen
    for drawn in unseen:
        assert len(held_out(drawn)) == 1, drawn
        assert drawn.requirement.unseen
    pairs = {(o.colour, o.shape) for d in unseen for o in d.scene.objects} & UNSEEN_PAIRS
    assert pairs == UNSEEN_PAIRS


def test_kinds_and_suffixes_are_drawn_evenly(seen: list[Sample], unseen: list[Sample]) -> None:
    kinds = Counter(drawn.requirement.kind for drawn in seen)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 0.8 * COUNT / 6
    kinds = Counter(drawn.requirement.kind for drawn in unseen)
    assert set(kinds) == set(UNSEEN_KINDS)
    assert min(kinds.values()) > 0.8 * COUNT / 4
    suffixed = sum(drawn.requirement.background is not None for drawn in seen) / COUNT
    assert abs(suffixed - 0.5) < 0.05
    sized = sum(drawn.requirement.sizes[0] is not None for drawn in seen) / COUNT
    assert abs(sized - 0.25) < 0.05
    first = Counter(drawn.captions[0].split()[0] for drawn in seen)
    assert first["one"] > COUNT / 10
    assert first["1"] > COUNT / 20


def test_named_colours_and_backgrounds_are_drawn_evenly(seen: list[Sample]) -> None:
    named = [drawn.requirement for drawn in seen]
    backgrounds = Counter(one.background for one in named if one.background)
    assert set(backgrounds) == set(COLOURS)
    assert min(backgrounds.values()) > 0.6 * backgrounds.total() / 10
    shapes = Counter(one.shapes[0] for one in named if one.kind == "colors")
    assert min(shapes[shape] for shape in SHAPES) > 0.4 * shapes.total() / 8
    behind = Counter(drawn.scene.background for drawn in seen if not drawn.requirement.background)
    assert min(behind[colour] for colour in COLOURS) > 0.6 * behind.total() / 10
    relations = Counter(one.relation for one in named if one.relation)
    assert min(relations[relation] for relation in RELATIONS) > 0.6 * relations.total() / 4
    counts = Counter(len(one.shapes) for one in named if one.kind == "counting")
    assert min(counts[count] for count in (2, 3, 4)) > 0.7 * counts.total() / 3


def test_streams_differ() -> None:
    assert sample(5).scene.objects[0].x != unseen_sample(5).scene.objects[0].x
    assert sample(5) == sample(5)
    assert len({sample(seed).scene for seed in range(100)}) == 100

"""The exact scorer: true scenes are right, and every planted fault is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from demask.evaluation.scenes_faithfulness import is_of_class, is_right
from demask.evaluation.scenes_parser import parse_scenes
from demask.evaluation.scenes_scores import judge
from demask.scenes import (
    Sample,
    Scene,
    SceneObject,
    class_scene,
    draw,
    parse_caption,
    sample,
    unseen_sample,
)
from demask.scenes.vocabulary import COLOURS, SHAPES

FIRST = 2_900_000_000
COUNT = 250


@pytest.fixture(scope="module")
def truth() -> tuple[list[Sample], np.ndarray]:
    """True scenes and their images."""
    drawn = [sample(FIRST + i) for i in range(COUNT)]
    drawn += [unseen_sample(FIRST + i) for i in range(COUNT)]
    return drawn, np.stack([draw(one.scene) for one in drawn])


def share_right(images: np.ndarray, drawn: list[Sample]) -> float:
    return float(np.mean([one.right for one in judge(images, [one.requirement for one in drawn])]))


def test_true_scenes_are_right(truth: tuple[list[Sample], np.ndarray]) -> None:
    drawn, images = truth
    assert share_right(images, drawn) >= 0.999
    for one, parsed in zip(drawn, parse_scenes(images), strict=True):
        assert parsed.background == one.scene.background
        assert parsed.clean > 0.99
        for thing in one.scene.objects:
            near = min(parsed.objects, key=lambda o: (o.x - thing.x) ** 2 + (o.y - thing.y) ** 2)
            assert (near.shape, near.colour, near.size) == (thing.shape, thing.colour, thing.size)
            assert abs(near.x - thing.x) + abs(near.y - thing.y) < 0.3
            assert abs(near.radius - thing.radius) < 0.4


def test_slightly_degraded_scenes_are_right(truth: tuple[list[Sample], np.ndarray]) -> None:
    drawn, images = truth
    chance = np.random.default_rng(1)
    soft = [Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.6)) for image in images]
    noisy = np.stack([np.asarray(image, float) for image in soft]) + chance.normal(
        0, 4, images.shape
    )
    assert share_right(noisy.clip(0, 255).astype(np.uint8), drawn) >= 0.98


def test_other_captions_are_wrong(truth: tuple[list[Sample], np.ndarray]) -> None:
    drawn, images = truth
    assert share_right(images, [*drawn[1:], drawn[0]]) < 0.02


def test_scenes_of_a_class() -> None:
    scenes = [class_scene(FIRST + i) for i in range(200)]
    images = np.stack([draw(scene) for scene, _ in scenes])
    names = [SHAPES[label] for _, label in scenes]
    assert all(one.right for one in judge(images, names))
    others = [SHAPES[(label + 1) % 8] for _, label in scenes]
    assert not any(one.right for one in judge(images, others))


RED_STAR = SceneObject("star", "red", "small", 18, 30, 8.5)
BLUE_RING = SceneObject("ring", "blue", "large", 44, 34, 13)
SCENE = Scene("white", (RED_STAR, BLUE_RING))
CAPTION = "a small red star left of a large blue ring on a white background"


def right(scene: Scene, caption: str = CAPTION) -> bool:
    (parsed,) = parse_scenes(draw(scene)[None])
    return is_right(parsed, parse_caption(caption))


def with_star(**changes: object) -> Scene:
    return Scene("white", (replace(RED_STAR, **changes), BLUE_RING))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scene",
    [
        with_star(colour="pink"),
        with_star(shape="heart"),
        with_star(radius=12.5, size="large", x=16),
        with_star(x=44, y=10.5),
        Scene("yellow", SCENE.objects),
        Scene("white", (RED_STAR,)),
        Scene("white", (*SCENE.objects, SceneObject("circle", "black", "small", 14, 52, 8))),
        Scene("white", (replace(RED_STAR, x=52), replace(BLUE_RING, x=20))),
        Scene("white", (replace(RED_STAR, colour="blue"), replace(BLUE_RING, colour="red"))),
        Scene("white", ()),
    ],
)
def test_each_fault_is_found(scene: Scene) -> None:
    assert right(SCENE)
    assert not right(scene)


def test_what_is_not_named_is_free() -> None:
    other = Scene("pink", (replace(BLUE_RING, colour="green"), replace(RED_STAR, colour="black")))
    for caption in ("a star and a ring", "a ring and a star", "a ring on the right of a star"):
        assert right(SCENE, caption)
        assert right(other, caption)
    assert not right(SCENE, "a ring left of a star")
    assert not right(SCENE, "a star above a ring")
    assert not right(SCENE, "two stars")


def spoil(image: np.ndarray, change: Callable[[np.ndarray], None]) -> np.ndarray:
    degraded = image.copy()
    change(degraded)
    return degraded


def test_torn_objects_are_wrong_and_unclean() -> None:
    def cut(image: np.ndarray) -> None:
        image[26:32, 8:30] = image[0, 0]

    def blot(image: np.ndarray) -> None:
        image[4:18, 40:44] = image[40:44, 30:34] = (25, 25, 25)

    whole = draw(SCENE)
    for change in (cut, blot):
        (before, after) = parse_scenes(np.stack([whole, spoil(whole, change)]))
        assert is_right(before, parse_caption(CAPTION))
        assert not is_right(after, parse_caption(CAPTION))
        assert after.clean < before.clean


def test_noise_and_plain_images_show_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    for parsed in parse_scenes(noise):
        assert not is_of_class(parsed, "star")
        assert parsed.clean < 0.2
    (plain,) = parse_scenes(np.full((1, 64, 64, 3), 200, np.uint8))
    assert plain.objects == ()
    assert plain.clean == 1
    assert not is_of_class(plain, "star")


def test_an_image_is_parsed_alone_as_among_others(truth: tuple[list[Sample], np.ndarray]) -> None:
    images = truth[1][:150]
    together = parse_scenes(images)
    for index in (0, 77, 149):
        (alone,) = parse_scenes(images[index : index + 1])
        assert [o.shape for o in alone.objects] == [o.shape for o in together[index].objects]
        assert [o.x for o in alone.objects] == pytest.approx([o.x for o in together[index].objects])


def test_scenes_of_a_class_have_one_to_four_objects_of_two_sizes() -> None:
    things = [
        SceneObject("circle", COLOURS[i], "small", 11 + 20 * (i % 3), 12 + 22 * (i // 3), 8)
        for i in range(5)
    ]
    for count in range(1, 6):
        (parsed,) = parse_scenes(draw(Scene("white", tuple(things[:count])))[None])
        assert is_of_class(parsed, "circle") == (count <= 4)
    (tiny,) = parse_scenes(draw(Scene("white", (replace(things[0], radius=4),)))[None])
    assert len(tiny.objects) == 1
    assert not is_of_class(tiny, "circle")


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (64, 64, 3), (1, 3, 64, 64)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 64, 64, 3\)"):
        parse_scenes(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        parse_scenes(np.zeros((1, 64, 64, 3), np.float32))

"""Shapes and images of scenes."""

from __future__ import annotations

import numpy as np
import pytest

from demask.scenes import Scene, SceneObject, draw
from demask.scenes.shapes import MASKS
from demask.scenes.vocabulary import COLOURS, PALETTE, SHAPES, SIDE

AREAS = {
    "circle": np.pi,
    "square": 2.0,
    "triangle": 3 * np.sqrt(3) / 4,
    "cross": 4 * 0.32 * 0.947 * 2 - (2 * 0.32) ** 2,
    "ring": np.pi * (1 - 0.55**2),
}


def inside(shape: str, reach: float = 1.5, count: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    """The mask of a shape on a grid, and the distance of each point from the centre."""
    axis = (np.arange(count) + 0.5) / count * 2 * reach - reach
    x, y = axis[None, :], axis[:, None]
    return MASKS[shape](x, y), np.sqrt(x * x + y * y)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_its_bounding_circle(shape: str) -> None:
    mask, distance = inside(shape)
    assert 0.98 < distance[mask].max() <= 1.001
    if shape in AREAS:
        assert mask.mean() * 9 == pytest.approx(AREAS[shape], rel=0.01)
    # a mirror image is another thing for the crescent only
    assert np.array_equal(mask, mask[:, ::-1]) == (shape != "crescent")


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_covers_its_area(shape: str) -> None:
    thing = SceneObject(shape, "white", "large", 30.3, 33.7, 13.1)
    image = draw(Scene("black", (thing,))).astype(float)
    low, high = PALETTE["black"][0], PALETTE["white"][0]
    covered = ((image[..., 0] - low) / (high - low)).sum()
    area = inside(shape)[0].mean() * 9 * 13.1**2
    assert covered == pytest.approx(area, rel=0.02)


def test_jitter_stays_within_bytes() -> None:
    things = [SceneObject("square", "white", "small", 32, 32, 9, (6, -6, 30))]
    image = draw(Scene("black", tuple(things)))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    assert image[32, 32].tolist() == [251, 239, 255]
    assert image[0, 0].tolist() == [25, 25, 25]


def test_colours_are_apart() -> None:
    palette = np.array([PALETTE[name] for name in COLOURS], float)
    apart = np.sqrt(((palette[:, None] - palette[None]) ** 2).sum(-1))
    assert apart[~np.eye(len(COLOURS), dtype=bool)].min() >= 60

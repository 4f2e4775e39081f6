"""Connected components, against a flood fill."""

from __future__ import annotations

import numpy as np

from demask.evaluation.scenes_components import connected_components


def flood(mask: np.ndarray) -> int:
    """The number of 8-connected components of a mask, by walking over its pixels."""
    left, count = set(zip(*map(list, np.nonzero(mask)), strict=True)), 0
    while left:
        count += 1
        todo = [left.pop()]
        while todo:
            row, column = todo.pop()
            near = {(row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            todo += near
    return count


def test_random_masks() -> None:
    chance = np.random.default_rng(0)
    masks = chance.random((30, 17, 23)) < np.linspace(0.02, 0.9, 30)[:, None, None]
    found, count = connected_components(masks)
    assert count == sum(flood(mask) for mask in masks)
    assert np.array_equal(found > 0, masks)
    assert sorted(np.unique(found[masks])) == list(range(1, count + 1))
    # two neighbours in the mask are of one component
    for a, b in ((found[:, 1:], found[:, :-1]), (found[:, :, 1:], found[:, :, :-1])):
        both = (a > 0) & (b > 0)
        assert np.array_equal(a[both], b[both])


def test_a_spiral_is_one_and_images_stay_apart() -> None:
    spiral = np.zeros((2, 41, 41), bool)
    for ring in range(0, 20, 2):
        spiral[:, ring, ring : 41 - ring] = spiral[:, 40 - ring, ring : 41 - ring] = True
        spiral[:, ring : 41 - ring, ring] = spiral[:, ring : 41 - ring, 40 - ring] = True
        # a cut beside the way to the next ring leaves one long line
        spiral[:, ring + 1, ring] = False
        spiral[:, ring + 1, ring + 1] = ring < 18
        spiral[:, ring + 2, ring + 1] = ring < 18
    found, count = connected_components(spiral)
    assert count == 2 * flood(spiral[0])
    assert found[0].max() < found[1][found[1] > 0].min()


def test_empty_and_full() -> None:
    assert connected_components(np.zeros((2, 5, 5), bool))[1] == 0
    assert connected_components(np.ones((3, 64, 64), bool))[1] == 3
    assert connected_components(np.eye(6, dtype=bool)[None])[1] == 1
    assert connected_components(np.eye(6, dtype=bool)[None, ::-1])[1] == 1

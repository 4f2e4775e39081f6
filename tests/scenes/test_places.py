"""What left, right, above and below mean: the law and the scorer share one function."""

from __future__ import annotations

import numpy as np
import pytest

from demask.scenes.places import has_relation
from demask.scenes.vocabulary import OFFSET, RELATIONS

OFFSETS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""The offset from the other object, in pixels right and down."""


@pytest.mark.parametrize("relation", RELATIONS)
def test_an_offset_has_its_relation_alone(relation: str) -> None:
    x, y = (np.array(2.0 * OFFSET * part) for part in OFFSETS[relation])
    assert [name for name in RELATIONS if has_relation(x, y, name)] == [relation]


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_offset_is_large_enough_and_mainly_along_the_axis(relation: str) -> None:
    right, down = OFFSETS[relation]
    along_P = np.array([OFFSET, OFFSET - 1.0, 2.0 * OFFSET, 2.0 * OFFSET])
    across_P = np.array([0.0, 0.0, 2.0 * OFFSET - 1, 2.0 * OFFSET + 1])
    x_P, y_P = (along_P * right, across_P) if right else (across_P, along_P * down)
    assert has_relation(x_P, y_P, relation).tolist() == [True, False, True, False]
    assert has_relation(x_P, y_P, relation, tolerance=1.5).tolist() == [True] * 4

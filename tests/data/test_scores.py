from __future__ import annotations

import pytest

from demask.data.scores import known, read_score, read_scores


def test_numbers_and_what_tables_write_for_none() -> None:
    cells = [7, 5.5, "6.25", None, "", float("nan"), "nan", 0]
    assert read_scores(cells) == [7.0, 5.5, 6.25, None, None, None, None, 0.0]


@pytest.mark.parametrize("cell", ["good", [6], {"a": 1}, b"6", True])
def test_anything_else_is_named(cell: object) -> None:
    with pytest.raises(ValueError, match="^a score must be a number, not "):
        read_score(cell)


def test_no_image_is_liked_without_end() -> None:
    with pytest.raises(ValueError, match="finite, not inf"):
        read_score("1e999")


def test_only_known_scores_are_a_fact() -> None:
    """So that sources without scores keep their fingerprints, and their caches."""
    assert known([]) == known([None, None]) == []
    assert known([None, 6.0]) != known([6.0, None]) != []

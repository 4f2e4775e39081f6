from __future__ import annotations

import pytest

from demask.data.classes import number_labels


def test_names_are_numbered_in_their_own_order_or_in_the_wanted_one() -> None:
    assert number_labels(["dog", "cat", "dog"], None, None) == ([1, 0, 1], ("cat", "dog"))
    wanted = ("ship", "dog", "cat")
    assert number_labels(["dog", "cat", "dog"], None, wanted) == ([1, 2, 1], wanted)


def test_numbers_get_the_names_that_the_data_or_the_person_knows() -> None:
    assert number_labels([2, 0], None, None) == ([2, 0], ("0", "1", "2"))
    assert number_labels([2, 0], None, "abc") == ([2, 0], ("a", "b", "c"))
    assert number_labels([2, 0], ["a", "b", "c"], None) == ([2, 0], ("a", "b", "c"))
    assert number_labels([2, 0], ["a", "b", "c"], "cba") == ([0, 2], ("c", "b", "a"))


def test_without_labels_there_is_one_class() -> None:
    assert number_labels([None, None], None, None) == ([0, 0], ("pictures",))


@pytest.mark.parametrize(
    ("labels", "found", "wanted", "message"),
    [
        ([3], None, ["a", "b"], "the label 3 has no name; the 2 classes are: a, b"),
        ([3], ["a", "b"], None, "the label 3 has no name"),
        ([-1], None, None, "the label -1 is below 0"),
        ([0, None], None, None, "image 1 has no class"),
        (["cat", "dgo"], None, ["cat", "dog"], "unknown class 'dgo'; did you mean 'dog'"),
        ([None], None, ["cat", "dog"], "unknown class 'pictures'"),
        (["cat"], None, ["cat", "cat"], "named twice"),
        ([0], None, ["cat", "cat"], "named twice"),
    ],
)
def test_labels_that_do_not_fit(labels: list, found: list, wanted: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        number_labels(labels, found, wanted)

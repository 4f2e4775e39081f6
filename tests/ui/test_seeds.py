import pytest

from demask.ui.seeds import parse_seeds


def test_one_seed_counts_up():
    assert parse_seeds("7", 3) == [7, 8, 9]


def test_several_seeds_are_those_alone():
    assert parse_seeds("3-5, 9 1", 8) == [3, 4, 5, 9, 1]


def test_a_range_of_one_is_one_image():
    assert parse_seeds("7-7", 4) == [7]


def test_nothing_draws_other_seeds_each_time():
    assert parse_seeds("", 4) != parse_seeds(" ", 4)


@pytest.mark.parametrize("text", ["seven", "-1", "5-3", "1-99", "1.5", "9" * 20, "1-16 17-20"])
def test_a_mistake_is_named(text):
    with pytest.raises(ValueError, match="seed|at most"):
        parse_seeds(text, 1)

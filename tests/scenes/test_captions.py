"""Captions say what is required, and are read back."""

from __future__ import annotations

import pytest

from demask.scenes import Requirement, parse_caption, sample, unseen_sample, wordings
from demask.scenes.captions import PLURALS
from demask.scenes.vocabulary import COLOURS, SHAPES


def test_examples() -> None:
    assert wordings(Requirement("single_object", ("star",), (None,), (None,)))[0] == "a star"
    orange = Requirement("colors", ("ring",), ("orange",), (None,), None, "orange")
    assert wordings(orange)[0] == "an orange ring on an orange background"
    two = Requirement("position", ("star", "ring"), ("red", "blue"), ("small", None), "left of")
    assert wordings(two)[1] == "a small red star to the left of a blue ring"
    three = Requirement("counting", ("cross",) * 3, ("green",) * 3, (None,) * 3)
    words = ("three", "a group of three", "3")
    assert wordings(three) == tuple(f"{word} green crosses" for word in words)


def test_every_wording_is_read_back() -> None:
    kinds = set()
    for seed in range(600):
        for drawn in (sample(seed), unseen_sample(seed)):
            assert len(set(drawn.captions)) == 3
            assert set(drawn.captions) == set(wordings(drawn.requirement))
            assert {parse_caption(text) for text in drawn.captions} == {drawn.requirement}
            kinds.add(drawn.requirement.kind)
    assert len(kinds) == 6


def test_capitals_and_spaces_do_not_matter() -> None:
    assert parse_caption("  Two  RED stars ") == parse_caption("a pair of red stars")


def test_no_shape_or_colour_masks_in_another() -> None:
    words = [*SHAPES, *PLURALS.values(), *COLOURS]
    assert len(set(words)) == len(words)


OTHER_WORDS = [
    "",
    "a dog",
    "red star",
    "two star",
    "a star left of",
    "a star and a ring and a heart",
    "five stars",
    "a star on a mauve background",
    "a red star on a table",
    "two stars and a ring",
]


@pytest.mark.parametrize("text", OTHER_WORDS)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a caption of a scene") as error:
        parse_caption(text)
    assert "crescent" in str(error.value)
    assert "\n" not in str(error.value)

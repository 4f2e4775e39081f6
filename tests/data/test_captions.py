from __future__ import annotations

import pytest
import torch

from demask.data.captions import hold_out, vary

MANY = [(f"thing {n}", f"alias {n}", f"other {n}") for n in range(50)]


def test_some_alternatives_are_held_out() -> None:
    left, held = hold_out(MANY, 0.25)
    assert len(held) == 25
    assert held == sorted(held)
    assert [texts[0] for texts in left] == [texts[0] for texts in MANY]
    for index, texts in enumerate(MANY):
        gone = {text for i, text in held if i == index}
        assert left[index] == tuple(text for text in texts if text not in gone)
    assert hold_out(MANY, 0)[0] == MANY
    assert hold_out(MANY, 1)[0] == [texts[:1] for texts in MANY]


def test_the_texts_decide_and_not_their_places() -> None:
    words = {text for _, text in hold_out(MANY, 0.25)[1]}
    assert words == {text for _, text in hold_out(MANY[::-1], 0.25)[1]}
    assert words != {text for _, text in hold_out(MANY, 0.25, seed=1)[1]}
    assert words < {text for _, text in hold_out(MANY, 0.5)[1]}


def test_what_would_not_be_unseen_stays() -> None:
    captions = [("a dog", "Hound", "A  Dog"), ("a wolf", "hound", "a beast"), (), ("beast",)]
    left, held = hold_out(captions, 1)
    assert held == [(1, "a beast")]
    assert left == [("a dog", "Hound", "A  Dog"), ("a wolf", "hound"), (), ("beast",)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_words_change_places() -> None:
    words = ["one", "two", "three", "four"]
    seen = [vary("one two three four", generator(seed), 0.5, 0) for seed in range(400)]
    assert all(sorted(caption.split()) == sorted(words) for caption in seen)
    assert 0.4 < sum(caption == "one two three four" for caption in seen) / 400 < 0.64
    assert len(set(seen)) == 24


def test_words_are_dropped_but_one() -> None:
    seen = [vary("one two three four", generator(seed), 0, 0.3).split() for seed in range(400)]
    assert 0.65 < sum(map(len, seen)) / 1600 < 0.76
    assert ["one", "three"] in seen
    assert {len(vary("one two", generator(seed), 1, 1).split()) for seed in range(9)} == {1}


def test_without_chance_a_caption_stays_and_draws_stay_the_same() -> None:
    chances = [generator(3) for _ in range(2)]
    assert vary("two  spaces", chances[0], 0, 0) == "two  spaces"
    vary("two  spaces", chances[1], 1, 1)
    assert torch.equal(chances[0].get_state(), chances[1].get_state())
    assert vary("", generator(0), 1, 1) == ""


def test_probabilities_are_checked() -> None:
    with pytest.raises(ValueError, match="drop must be within 0 and 1, not 2"):
        vary("a", generator(0), 0, 2)
    with pytest.raises(ValueError, match="fraction must be within 0 and 1, not -1"):
        hold_out([], -1)

"""The recipe of the model `scenes` reads whole captions."""

from __future__ import annotations

import tomllib
from pathlib import Path

from demask.scenes import sample, unseen_sample
from demask.transformer.condition import train_text_tokenizer

RECIPE = Path(__file__).parents[2] / "recipes" / "scenes" / "masked.toml"


def test_no_caption_is_cut_off() -> None:
    text = tomllib.loads(RECIPE.read_text())["meissonic"]["text"]
    learned = [caption for seed in range(1500) for caption in sample(seed).captions]
    words = train_text_tokenizer(learned, text["vocabulary"], text["length"])
    asked = {
        caption
        for seed in range(2000, 2800)
        for drawn in (sample(seed), unseen_sample(seed))
        for caption in drawn.captions
    }
    marks = 2
    longest = max(asked, key=lambda caption: len(words.encoding.encode(caption).tokens))
    assert len(words.encoding.encode(longest).tokens) + marks <= text["length"], longest

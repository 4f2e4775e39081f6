"""What the fields of the page mean as a condition."""

from __future__ import annotations

import pytest

from demask.ui.condition_input import ANYTHING, chosen_condition
from tiny import tiny_generator, tiny_text_generator


@pytest.mark.parametrize("prompt", ["", "  \n", None])
def test_an_empty_prompt_is_asked_for(prompt: str | None) -> None:
    model = tiny_text_generator()
    with pytest.raises(ValueError, match="enter a prompt: what the image should show"):
        chosen_condition(model, prompt, None)
    assert chosen_condition(model, prompt, None, required=False) == ""
    assert chosen_condition(model, " red apple ", None) == "red apple"


def test_a_class_or_any() -> None:
    model = tiny_generator()
    assert chosen_condition(model, "", "cat") == "cat"
    assert chosen_condition(model, "", ANYTHING) is None

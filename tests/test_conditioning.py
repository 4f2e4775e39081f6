"""What a person asks for, as a model reads it."""

from __future__ import annotations

import pytest
import torch

from demask.conditioning import Classes, ParsedCondition, Prompts
from demask.settings import Settings
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from tiny import CLASS_NAMES, tiny_text_encoder, tiny_transformer

SIZE = (16, 24)
PLAIN = Settings()


@pytest.fixture(scope="module")
def classes() -> Classes:
    return Classes("tiny", tiny_transformer(), CLASS_NAMES)


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(tiny_text_encoder())


@pytest.mark.parametrize(
    ("condition_input", "parsed"),
    [
        ("cat", ParsedCondition("cat", 1)),
        (2, ParsedCondition("ship", 2)),
        ("2", ParsedCondition("ship", 2)),
        (None, ParsedCondition()),
        ("", ParsedCondition()),
    ],
)
def test_a_class_by_name_or_number(
    classes: Classes, condition_input: object, parsed: ParsedCondition
) -> None:
    assert classes.parse(condition_input) == parsed


def test_a_name_that_is_a_number_counts_as_one() -> None:
    numbered = Classes("tiny", tiny_transformer(), ("1", "2", "0"))
    assert numbered.parse("1") == ParsedCondition("2", 1)


def test_classes_become_numbers_and_any_class_the_unconditional_one(classes: Classes) -> None:
    parsed_conditions = [
        classes.parse(condition_input) for condition_input in ("ship", None, "dog")
    ]
    condition = classes.condition(parsed_conditions, SIZE, PLAIN)
    assert condition["class_ids"].tolist() == [2, 3, 0]
    assert classes.reference(SIZE, PLAIN)["class_ids"].tolist() == [3]
    assert classes.default_conditions() == [0, 1, 2]


def test_a_model_that_knows_no_any_class_says_so() -> None:
    sizes = {"width": 8, "depth": 1, "heads": 2, "mlp_width": 8}
    model = MaskGIT(MaskGITConfig(codebook_size=4, num_classes=3, grid=(2, 2), **sizes))
    conditioner = Classes("old", model, CLASS_NAMES)
    for ask in (
        lambda: conditioner.reference(SIZE, PLAIN),
        lambda: conditioner.condition([ParsedCondition()], SIZE, PLAIN),
    ):
        with pytest.raises(ValueError, match="old was trained without class dropout"):
            ask()
    assert conditioner.condition([ParsedCondition("cat", 1)], SIZE, PLAIN)[
        "class_ids"
    ].tolist() == [1]


@pytest.mark.parametrize("change", [{"negative_prompt": "blurry"}, {"micro_conditions": "score=6"}])
def test_words_are_not_for_a_model_of_classes(classes: Classes, change: dict) -> None:
    classes.check(PLAIN)
    with pytest.raises(
        ValueError, match=f"tiny is class-conditional; '{next(iter(change))}' is for"
    ):
        classes.check(Settings(**change))


@pytest.mark.parametrize(
    ("condition_input", "prompt"),
    [("red apple", "red apple"), ("", ""), (None, ""), (7, "7"), ("7", "7")],
)
def test_any_text_is_a_prompt(prompts: Prompts, condition_input: object, prompt: str) -> None:
    assert prompts.parse(condition_input) == ParsedCondition(prompt, -1)
    assert prompts.class_names == ()
    assert prompts.default_conditions() == [""]


def test_prompts_become_states_with_micro_conditions(prompts: Prompts) -> None:
    parsed_conditions = [ParsedCondition("red apple"), ParsedCondition("")]
    condition = prompts.condition(
        parsed_conditions, SIZE, Settings(micro_conditions="score=7,crop_left=3")
    )
    assert len(condition) == 2
    assert condition["micro"].tolist() == [[24, 16, 0, 3, 7]] * 2
    expected = tiny_text_encoder().encode(["red apple", ""])
    assert torch.equal(condition["states"], expected["states"])
    assert torch.equal(condition["pooled"], expected["pooled"])


def test_the_reference_is_the_negative_prompt_or_the_empty_one(prompts: Prompts) -> None:
    for negative, meant in (("", ""), ("blue heart", "blue heart")):
        settings = Settings(negative_prompt=negative, micro_conditions="score=7")
        reference = prompts.reference(SIZE, settings)
        same = prompts.condition([ParsedCondition(meant)], SIZE, settings)
        assert all(torch.equal(reference[name], same[name]) for name in same.tensors)
    assert reference["micro"].tolist() == [[24, 16, 0, 0, 7]], "told the same as the prompt"


def test_bad_micro_conditions_are_met_before_anything_runs(prompts: Prompts) -> None:
    prompts.check(Settings(micro_conditions="score=7", negative_prompt="blurry"))
    with pytest.raises(ValueError, match="unknown micro-condition 'scor'; did you mean 'score'"):
        prompts.check(Settings(micro_conditions="scor=7"))

import pytest

from demask.settings import Settings
from demask.ui.panel import (
    CONTROLLED,
    fill_controls,
    read_rest,
    settings_of,
    shown,
)
from tiny import tiny_generator

OTHER = Settings(
    steps=5,
    schedule="power:2.5",
    order="halton",
    choice_temperature=3.0,
    choice_temperature_decay="endpoints",
    temperature=0.8,
    top_k=7,
    top_p=0.5,
    guidance_scale=3.5,
    guidance_schedule="ramp",
    corrections=("remask", "momentum"),
    accelerators=("token_merging:0.25",),
    negative_prompt="blue",
    width=32,
    micro_conditions="score=6.5,crop_top=20",
)


@pytest.mark.parametrize("settings", [Settings(), OTHER])
def test_settings_go_through_the_controls_and_back(settings):
    assert Settings().updated(**settings_of(shown(settings))) == settings


def test_an_empty_control_leaves_the_setting_to_the_model():
    values = shown(OTHER)
    values[CONTROLLED.index("choice_temperature")] = None
    values[CONTROLLED.index("negative_prompt")] = ""
    assert not {"choice_temperature", "negative_prompt"} & set(settings_of(values))


def test_words_need_no_quotes():
    assert read_rest('choice_temperature_decay = linear; top_p=0.9;micro_conditions="score=6"') == {
        "choice_temperature_decay": "linear",
        "top_p": 0.9,
        "micro_conditions": "score=6",
    }


@pytest.mark.parametrize("text", ["top_p", "topp=1", "top_k=many"])
def test_a_mistake_is_named(text):
    values = shown(Settings())
    values[-1] = text
    with pytest.raises(ValueError, match="top_"):
        settings_of(values)


def test_a_one_step_generator_and_its_high_temperature_fit_the_controls():
    """Di[M]O's published ImageNet images have a temperature of 7."""
    settings = Settings(steps=1, start="one_step:ratio=0.5", temperature=7.0)
    values = shown(settings)
    assert values[-1] == 'start="one_step:ratio=0.5"'
    assert Settings().updated(**settings_of(values)) == settings
    updates = fill_controls(tiny_generator(), settings)[1:]
    update = updates[CONTROLLED.index("temperature")]
    assert (update["value"], update["maximum"]) == (7.0, 7.0)

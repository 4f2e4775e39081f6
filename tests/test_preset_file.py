"""Named settings beside a model's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demask.assembly import load
from demask.generator import Generator
from demask.preset_file import Preset, PresetFile, read_presets, write_presets
from demask.settings import Settings
from tiny import save_tiny, tiny_generator

EIGHT = Preset(
    Settings(
        steps=4,
        schedule="ratios:0.9,0.5,0.2",
        choice_temperature=2.0,
        choice_temperature_decay="listed:1,0.5,0.25,0",
        temperature=1.1,
        temperature_decay="line:0.5",
        guidance_scale=2.0,
        guidance_schedule="listed:0,0,0.5,1",
        corrections=("noise_regularization:strength=0.1",),
        accelerators=("token_merging:0.25",),
    ),
    ("fréchet 12.3 (12.0 to 12.6), extractor 'tiny', 5,000 images",),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "presets.toml"
    presets = PresetFile({"plain": Preset(Settings())}).with_preset("steps4", EIGHT, default=True)
    write_presets(path, presets)
    assert read_presets(path) == presets
    assert read_presets(path).default == "steps4"
    assert read_presets(tmp_path / "none.toml") == PresetFile({})


def test_what_is_named_again_replaces_the_old_and_leaves_the_default() -> None:
    first = PresetFile({}).with_preset("a", EIGHT, default=True).with_preset("b", EIGHT)
    other = replace(EIGHT, scores=())
    assert first.with_preset("b", other).by_name == {"a": EIGHT, "b": other}
    assert first.with_preset("b", other).default == "a"


@pytest.mark.parametrize("name", ["", "two words", "a.b", "é", "default"])
def test_names_are_words(name: str) -> None:
    with pytest.raises(ValueError, match="preset"):
        PresetFile({}).with_preset(name, EIGHT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps =", "is not TOML"),
        ("default = 'a'", "unknown preset 'a': this model has none"),
        ("default = 'fst'\n[fast.settings]\nsteps = 4", "did you mean 'fast'"),
        ("[a.settings]\nstps = 4", "unknown setting 'stps'; did you mean 'steps'"),
        (
            "[a.settings]\nsteps = '4'",
            "a.settings: steps must be a whole number of at least 1, not '4'",
        ),
        (
            (
                "[a.settings]\nsteps = 4\nchoice_temperature = 1\n"
                "choice_temperature_decay = 'listed:1,1'"
            ),
            "for 4 steps",
        ),
        ("[a]\nsetings = {}", "did you mean 'settings'"),
        ("a = 4", "must be a table"),
        ("default = 4\n[a.settings]\nsteps = 4", "default is the name of a preset, not 4"),
        ("[a]\nscores = 'frechet 3'", "a: scores is a list of texts, not frechet 3"),
        ("[a]\nscores = [3]", "a: scores is a list of texts"),
        (
            "[a.settings]\nsteps = 2020-01-01",
            "a.settings: steps must be a whole number of at least 1, not .*2020",
        ),
    ],
)
def test_a_broken_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "presets.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_presets(path)
    assert str(path) in str(caught.value)


def test_a_generator_generates_under_a_preset() -> None:
    generator = replace(tiny_generator(), presets=PresetFile({"steps4": EIGHT}))
    (named,) = generator.generate("cat", preset="steps4", guidance_scale=1.5)
    assert named.settings == EIGHT.settings.updated(guidance_scale=1.5)
    (same,) = generator.generate("cat", **vars(named.settings))
    assert named.image.tobytes() == same.image.tobytes()
    with pytest.raises(ValueError, match="did you mean 'steps4'"):
        generator.generate("cat", preset="steps8")


def test_a_model_brings_its_presets_and_their_default(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path)
    plain: Generator = load(str(folder))
    assert plain.settings == Settings()
    write_presets(folder / "presets.toml", PresetFile({"steps4": EIGHT}, "steps4"))
    for model in (folder, folder / "transformer.safetensors"):
        found = load(str(model), str(folder / "tokenizer.safetensors"))
        assert found.settings == EIGHT.settings
        assert list(found.presets.by_name) == ["steps4"]


def test_the_type_of_the_weights_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "presets.toml"
    presets = PresetFile({"fast": Preset(Settings(steps=2), ("a",), "bfloat16")})
    write_presets(path, presets)
    assert read_presets(path) == presets
    path.write_text('[fast]\ndtype = "bfloat"\n[fast.settings]\nsteps = 2\n')
    with pytest.raises(ValueError, match="unknown dtype 'bfloat'; did you mean 'bfloat16'"):
        read_presets(path)

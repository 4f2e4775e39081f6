"""The authors' sampling settings, which ship as presets."""

from __future__ import annotations

from pathlib import Path

import pytest

import demask
from demask.preset_file import read_presets

FILES = sorted((Path(demask.__file__).parent / "published_presets").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_are_settings_and_say_whose_scores_they_name(path: Path) -> None:
    presets = read_presets(path)
    assert presets.default == "published"
    for preset in presets.by_name.values():
        assert preset.settings.sampler.steps == preset.settings.steps
        assert all(score.startswith("published: ") for score in preset.scores)


def test_there_are_some() -> None:
    assert {"halton_large_384", "maskgit_v1_256", "monetico", "dimo_maskgit"} <= {
        path.stem for path in FILES
    }

"""`demask models`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from demask.checkpoint.published import PUBLISHED_MODELS
from demask.preset_file import Preset, PresetFile, write_presets
from demask.presets import SHIPPED_MODELS
from demask.settings import Settings
from tiny import save_tiny, tiny_transformer


def test_the_list_names_every_model(run: Callable) -> None:
    listed = run("models", "list")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in SHIPPED_MODELS)
    assert run("models").stdout == listed.stdout
    assert "\x1b" not in listed.stdout


def test_show_counts_parameters_and_names_settings(run: Callable, model: str) -> None:
    shown = run("models", "show", model)
    assert shown.exit_code == 0, shown.stderr
    parameters = sum(p.numel() for p in tiny_transformer().parameters())
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert f"transformer ModernMaskGIT, {parameters:,} parameters" in lines
    assert "images 16x16 pixels" in lines
    assert "tokens 4x4 of 15 codes" in lines
    assert "classes 3: dog, cat, ship" in lines
    assert "steps 12" in lines


def test_show_refuses_an_unknown_model(refused: Callable) -> None:
    assert "unknown model 'x'" in refused("models", "show", "x")


def test_show_lists_the_presets(run: Callable, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path)
    named = Preset(Settings(steps=4), ("frechet 12.3, extractor 'tiny', 1,000 images",))
    write_presets(folder / "presets.toml", PresetFile({"steps4": named}, "steps4"))
    shown = " ".join(run("models", "show", folder).stdout.split())
    assert "preset steps4 (default) 4 steps" in shown
    assert "frechet 12.3" in shown


def test_show_names_a_public_model(
    run: Callable, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = " ".join(run("models", "show", golden / "amused").stdout.split())
    assert "public model" not in shown, "it has the layout, not the size"
    assert "preset published (default) 12 steps, guidance 10" in shown
    count = int(re.search(r"Amused, ([\d,]+) parameters", shown)[1].replace(",", ""))
    row = replace(PUBLISHED_MODELS["aMUSEd 256"], parameters=count)
    monkeypatch.setattr(PUBLISHED_MODELS, "_rows", {"aMUSEd 256": row})
    shown = " ".join(run("models", "show", golden / "amused").stdout.split())
    assert "public model aMUSEd 256, amused/amused-256; license: see its repository" in shown
    assert "published score none" in shown

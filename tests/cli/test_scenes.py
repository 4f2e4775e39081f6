"""`demask evaluate --metric scenes` and `demask figure data`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from demask.checkpoint.save import save_model
from demask.scenes.vocabulary import SHAPES
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from tiny import tiny_tokenizer

SCENES = ("evaluate", "--metric", "scenes")


@pytest.fixture(scope="module")
def class_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 64x64 pixels whose classes are the shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    torch.manual_seed(0)
    config = ModernMaskGITConfig(
        codebook_size=15, num_classes=8, grid=(16, 16), width=16, depth=1, heads=2, mlp_width=16
    )
    names = {"class_names": list(SHAPES)}
    save_model(folder / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    save_model(folder / "transformer.safetensors", ModernMaskGIT(config), "modern_maskgit", **names)
    return folder


def scores_of(path: Path) -> dict[str, float]:
    return {score["name"]: score["value"] for score in json.loads(path.read_text())["scores"]}


def test_true_scenes_score_one(run: Callable, tmp_path: Path) -> None:
    for law, name in (("scenes", "seen"), ("scenes_unseen", "unseen")):
        source = f"{law}:2000000000,60"
        result = run(*SCENES, "--samples", source, "--out", tmp_path / "report.json")
        assert result.exit_code == 0, result.stderr
        assert "60 images of scenes" in result.stdout
        assert scores_of(tmp_path / "report.json")[f"right, {name}"] == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["samples"]["count"] == 60
    result = run(*SCENES, "--samples", "scenes_classes:0,64", "--out", tmp_path / "report.json")
    found = scores_of(tmp_path / "report.json")
    assert found["right"] == 1
    assert found["number distance"] < 0.5


def test_a_model_of_captions(run: Callable, tmp_path: Path) -> None:
    words = ("--model", "emoji", "-n", 10, "--steps", 1, "--seed", 3)
    result = run(*SCENES, *words, "--out", tmp_path / "report.json")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["samples"]["count"] == 10 + 8 * 2
    assert report["samples"]["settings"]["steps"] == 1
    found = scores_of(tmp_path / "report.json")
    assert {"right, seen", "right, unseen, position", "clean share"} <= found.keys()
    result = run(*SCENES, *words, "--prompt", "a red heart", "--out", tmp_path / "report.json")
    assert result.exit_code == 0, result.stderr
    kinds = {"right, seen", "right, seen, colors", "clean share"}
    assert kinds <= scores_of(tmp_path / "report.json").keys()


def test_a_model_of_classes(run: Callable, class_model: Path, tmp_path: Path) -> None:
    words = ("--model", class_model, "-n", 16, "--steps", 1)
    result = run(*SCENES, *words, "--out", tmp_path / "report.json")
    assert result.exit_code == 0, result.stderr
    assert {f"right, {shape}" for shape in SHAPES} <= scores_of(tmp_path / "report.json").keys()
    result = run(*SCENES, *words, "--class", "star", "--out", tmp_path / "report.json")
    assert set(scores_of(tmp_path / "report.json")) == {"right", "right, star", "clean share"}


def test_what_does_not_fit_is_refused(refused: Callable, model: str, tmp_path: Path) -> None:
    one = ("--samples", "scenes:0,2")
    assert "cannot be combined" in refused(*SCENES, "kid", *one)
    assert "needs no reference" in refused(*SCENES, *one, "--reference", "scenes:0,2")
    assert "no extractors" in refused(*SCENES, *one, "--extractor", "clip")
    assert "generates 16x16 pixels of 3 classes" in refused(*SCENES, "--model", model)
    assert "number of images must be at least 1, not 0" in refused(
        *SCENES, "--model", model, "-n", 0
    )
    line = refused(*SCENES, "--model", "emoji", "--prompt", "a dog", "-n", 2)
    assert "not a caption of a scene: 'a dog'" in line
    assert "--reference PATH" in refused("evaluate", *one)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.png")
    assert "not a caption of a scene" in refused(*SCENES, "--samples", tmp_path)


def test_a_preview_of_data(run: Callable, refused: Callable, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    words = ("figure", "data", "--data", "scenes:0,12", "--out", out)
    result = run(*words, "-n", 6, "--first", 8)
    assert result.exit_code == 0, result.stderr
    with Image.open(out) as sheet:
        assert sheet.width in (2 * 132 + 4, 4 * 132 + 4)
    out.unlink()
    assert "--first must be from 0 to 11" in refused(*words, "--first", 12)
    assert "-n must be at least 1" in refused(*words, "-n", 0)
    assert not out.exists()

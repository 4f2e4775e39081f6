"""`demask evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from read_results import read_results

from demask.checkpoint.save import save_model
from demask.evaluation.small_conv import SmallConv, SmallConvConfig
from tiny import CLASS_NAMES


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random network that knows the tiny model's classes in another order."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "classifier.safetensors"
    network = SmallConv(SmallConvConfig(3, (4, 4), 5, residual=1))
    names = sorted(CLASS_NAMES)
    save_model(path, network, "small_conv", torch.float16, class_names=names, size=16)
    return f"cifar10_conv:weights={path}"


def pixels(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    for number, array in enumerate(pixels(24)):
        folder = tmp_path / "real" / CLASS_NAMES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / f"{number}.png")
    return tmp_path / "real"


def test_a_model_against_a_folder(
    run: Callable, model: str, extractor: str, real: Path, tmp_path: Path
) -> None:
    words = ["--extractor", extractor, "--reference", real, "--cache", tmp_path / "cache"]
    words += ["--model", model, "-n", 20, "--steps", 2, "--resamples", 3, "--seed", 5]
    result = run("evaluate", *words, "--out", tmp_path / "report.json")
    assert result.exit_code == 0, result.stderr
    assert "20 images against 24 real ones" in result.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["samples"]["settings"]["steps"] == 2
    assert report["samples"]["seed"] == report["options"]["seed"] == 5
    assert report["reference"]["count"] == 24
    assert len(report["extractors"][0]["fingerprint"]) == 16
    scores = {score["metric"]: score for score in report["scores"]}
    assert {"frechet", "kid", "recall", "class_accuracy"} <= scores.keys()
    (row,) = read_results(tmp_path / "report.json").rows
    (kid,) = (value for name, value in row.values.items() if name.startswith("kid "))
    assert kid.value == scores["kid"]["value"]
    assert scores["kid"]["low"] < scores["kid"]["value"] < scores["kid"]["high"]
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1
    # the same images, generated first and then measured, give the same numbers
    generated = tmp_path / "generated"
    run("generate", "--model", model, "-n", 20, "--steps", 2, "--seed", 5, "--out", generated)
    words[words.index("--model") :] = ["--samples", generated, "--resamples", 0, "--metric", "kid"]
    again = run("evaluate", *words, "--out", tmp_path / "again.json")
    assert again.exit_code == 0, again.stderr
    (score,) = json.loads((tmp_path / "again.json").read_text())["scores"]
    assert score["value"] == pytest.approx(scores["kid"]["value"], abs=1e-6)


def test_npz_against_npz(run: Callable, extractor: str, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        np.savez(tmp_path / f"{name}.npz", pixels(20, seed=seed), np.arange(20) % 3)
    files = ["--samples", tmp_path / "a.npz", "--reference", tmp_path / "b.npz"]
    words = ["--extractor", extractor, "--metric", "class_accuracy", "precision"]
    result = run("evaluate", *files, *words, "--cache", tmp_path / "cache")
    assert result.exit_code == 0, result.stderr
    assert "class accuracy" in result.stdout
    assert "recall" not in result.stdout


def test_refuses(refused: Callable, model: str, extractor: str, real: Path, tmp_path: Path) -> None:
    rest = ["--extractor", extractor, "--cache", tmp_path / "cache"]
    np.savez(tmp_path / "few.npz", pixels(4))
    np.savez(tmp_path / "large.npz", pixels(9, side=20))
    few, large = ["--samples", tmp_path / "few.npz"], ["--reference", tmp_path / "large.npz"]
    line = refused("evaluate", *few, "--reference", real, *rest)
    assert "4 samples are too few for frechet" in line
    assert "at least 6 are needed" in line
    assert "the samples have 16x16 pixels, the reference 20x20" in refused(
        "evaluate", *few, *large, *rest
    )
    assert "name them with --samples, or a --model" in refused("evaluate", *large, *rest)
    assert "leave one out" in refused("evaluate", *few, "--model", model, *large, *rest)
    assert "unknown metric 'fid'" in refused("evaluate", *few, *large, *rest, "--metric", "fid")
    Image.new("RGB", (9, 9)).save(real / "dog" / "odd.png")
    assert "images of several sizes" in refused(
        "evaluate", "--samples", real, "--reference", real, *rest
    )
    (real / "dog").rename(real / "horse")
    line = refused("evaluate", "--model", model, "-n", 8, "--reference", real, *rest)
    assert "the reference has other classes than the samples: dog, horse" in line

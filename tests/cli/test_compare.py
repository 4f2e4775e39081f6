"""`demask compare` from its words to its files, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from read_results import read_results

from demask.checkpoint.save import save_model
from demask.cli.figure import read_variant
from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig


@pytest.fixture
def scorer(tmp_path: Path) -> str:
    torch.manual_seed(0)
    config = PairScorerConfig(
        size=16, widths=(4, 8, 8), layout=4, pieces=64, words=5, text_width=8, features=6
    )
    save_model(tmp_path / "tiny" / "scorer.safetensors", PairScorer(config), "pair_scorer")
    return f"emoji_pairs:weights={tmp_path / 'tiny' / 'scorer.safetensors'}"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("red apple\n\ngreen apple\n")
    return path


def test_it_compares(
    run: Callable, text_model: str, scorer: str, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["compare", "--model", text_model, "--prompts", prompts, "--num-seeds", 3, "--scorer"]
    words += [scorer, "--control", "--gallery", 2, "--resamples", 20, "--out", out, "--variant"]
    words += ["base: steps=2", "noise: steps=2 correction=noise_regularization"]
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "| noise | " in result.stdout
    assert "| other words | " in result.stdout
    results = json.loads((out / "results.json").read_text())
    assert len(results["variants"][1]["scores"]["emoji_pairs:tiny"]) == 6
    assert results["variants"][1]["settings"]["corrections"] == ["noise_regularization"]
    read = read_results(out / "results.json")
    rates = [row.values.get("win rate") for row in read.rows]
    assert rates[0] is None
    assert [rate.value for rate in rates[1:]] == [
        outcome["paired"]["rate"] for outcome in results["outcomes"][1:]
    ]
    assert "not trained on human preferences" in (out / "table.md").read_text()
    with Image.open(out / "gallery.png") as image:
        assert image.size[1] > 2 * 16


def test_corrections_are_applied_in_turn() -> None:
    variant = read_variant("both: correction=noise_regularization steps=3 correction=remask:0.1")
    assert variant.settings == {
        "steps": 3,
        "corrections": ("noise_regularization", "remask:0.1"),
    }


def test_refuses(
    refused: Callable[..., str],
    text_model: str,
    model: str,
    scorer: str,
    prompts: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    two = ["--variant", "a: steps=2", "b: steps=3"]
    start = ["compare", "--prompts", prompts, "--out", out, "--scorer", scorer]
    start += ["--model", text_model]
    assert "unknown scorer 'hps'" in refused(*start, *two, "--scorer", "hps")
    message = refused(*start, *two, "--scorer", "hps_v2")
    assert "docs/methods/preference.md says where to get the files" in message
    assert "nothing to compare" in refused(*start, "--variant", "a: steps=2")
    assert "should look like setting=value" in refused(*start, "--variant", "a: steps", "b:")
    assert "unknown setting" in refused(*start, "--variant", "a:", "b: stops=2")
    assert "--gallery must be at least 0" in refused(*start, *two, "--gallery", -1)
    assert "is a model of classes" in refused(*start[:-1], model, *two)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert "has no prompts" in refused("compare", "--prompts", empty, "--out", out, *two)
    missing = tmp_path / "none.txt"
    assert "none.txt" in refused("compare", "--prompts", missing, "--out", out, *two)
    assert not out.exists()

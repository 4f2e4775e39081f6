"""`demask train`: what reaches the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demask.training import commands

RECIPES = Path(__file__).parents[2] / "recipes" / "cifar10"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each training that was started, none of which runs."""
    calls: list[tuple[Any, ...]] = []

    def record(*arguments: Any) -> Path:
        calls.append(arguments)
        return Path("model.safetensors")

    monkeypatch.setattr(commands, "train_tokenizer", record)
    monkeypatch.setattr(commands, "train_masked", record)
    return calls


def test_the_command_line_changes_the_recipe(run: Callable, started: list) -> None:
    words = ["train", "tokenizer", "--recipe", RECIPES / "tokenizer.toml", "--data", "here"]
    changes = ["--set", "run.steps=3", "run.batch_size=2", "--held-out", "there"]
    changes += ["--init", "cifar.safetensors", "--strict"]
    result = run(*words, *changes, "--out", "folder")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "model.safetensors\n"
    [(recipe, out, strict, init)] = started
    assert isinstance(recipe, commands.TokenizerTraining)
    assert (recipe.run.steps, recipe.run.batch_size) == (3, 2)
    assert (recipe.data.pictures, recipe.data.held_out) == ("here", "there")
    assert (out, strict, init) == (Path("folder"), True, "cifar.safetensors")


def test_both_recipes_of_a_model_share_a_folder(run: Callable, started: list) -> None:
    for kind in ("tokenizer", "masked"):
        assert run("train", kind, "--recipe", RECIPES / f"{kind}.toml").exit_code == 0
    assert started[0][1] == started[1][1] == Path("runs/cifar10")
    assert isinstance(started[1][0], commands.MaskedTraining)


def test_mistakes_start_nothing(refused: Callable, started: list, tmp_path: Path) -> None:
    recipe = RECIPES / "masked.toml"
    assert "See 'demask train --help'" in refused("train")
    assert "--recipe" in refused("train", "masked")
    missing = tmp_path / "missing.toml"
    assert str(missing) in refused("train", "masked", "--recipe", missing)
    line = refused("train", "masked", "--recipe", recipe, "--set", "run.stps=3")
    assert "did you mean 'steps'?" in line
    assert started == []


def test_no_data_is_one_line(refused: Callable, tmp_path: Path) -> None:
    line = refused("train", "tokenizer", "--recipe", RECIPES / "tokenizer.toml", "--out", tmp_path)
    assert "--data" in line
    assert list(tmp_path.iterdir()) == []

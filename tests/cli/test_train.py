"""`demask train`: what reaches the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demask.training import tasks
from demask.training.tasks.masked import MaskedTraining
from demask.training.tasks.tokenizer import TokenizerTraining

RECIPES = Path(__file__).parents[2] / "recipes" / "cifar10"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The name, recipe, folder and inputs of each training that was started, none of which runs."""
    calls: list[tuple[Any, ...]] = []

    def record(name: str, recipe: object, out: Path, **inputs: Any) -> Path:
        calls.append((name, recipe, out, inputs))
        return Path("out") / "model.safetensors"

    monkeypatch.setattr(tasks, "train", record)
    return calls


def test_the_command_line_changes_the_recipe(run: Callable, started: list) -> None:
    words = ["train", "tokenizer", "--recipe", RECIPES / "tokenizer.toml", "--data", "here"]
    changes = ["--set", "run.steps=3", "run.batch_size=2", "--held-out", "there"]
    changes += ["--init", "cifar.safetensors", "--strict"]
    result = run(*words, *changes, "--out", "folder")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "out/model.safetensors\n"
    [(name, recipe, out, inputs)] = started
    assert name == "tokenizer"
    assert isinstance(recipe, TokenizerTraining)
    assert (recipe.run.steps, recipe.run.batch_size) == (3, 2)
    assert (recipe.data.pictures, recipe.data.held_out) == ("here", "there")
    assert out == Path("folder")
    assert inputs == {"strict": True, "init": "cifar.safetensors"}


def test_both_recipes_of_a_model_share_a_folder(run: Callable, started: list) -> None:
    for kind in ("tokenizer", "masked"):
        assert run("train", kind, "--recipe", RECIPES / f"{kind}.toml").exit_code == 0
    assert started[0][2] == started[1][2] == Path("runs/cifar10")
    assert isinstance(started[1][1], MaskedTraining)


def test_folders_and_results_are_what_the_rows_say(
    run: Callable, started: list, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\na dog\n")
    model = ["--model", tmp_path / "model"]
    assert run("train", "lora", *model, "--out", "here").stdout == "out\n"
    assert run("train", "shortcut", *model, "--prompts", tmp_path / "prompts.txt").exit_code == 0
    assert run("train", "scorer", "--recipe", RECIPES.parent / "emoji/scorer.toml").exit_code == 0
    folders = [str(out) for _, _, out, _ in started]
    assert folders == ["here", "runs/model", "runs/scorer"]
    assert started[1][3] == {"model": str(tmp_path / "model"), "prompts": ("a cat", "a dog")}


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

"""The folder of a training: one run at a time, and always the same run."""

from pathlib import Path

import pytest
from filelock import FileLock

from demask.config import load_toml, override, parse
from demask.training.tasks import TRAININGS, train


def run(recipes: Path, images: Path, out: Path, *changes: str) -> Path:
    path = recipes / "tokenizer.toml"
    table = override(load_toml(path), [f"data.pictures={images}", *changes])
    return train("tokenizer", parse(TRAININGS["tokenizer"].recipe(), table, path), out)


def test_a_second_training_in_the_folder_is_refused(
    recipes: Path, images: Path, tmp_path: Path
) -> None:
    with FileLock(tmp_path / ".tokenizer.lock"):
        with pytest.raises(ValueError, match="another process trains there"):
            run(recipes, images, tmp_path)
        assert not (tmp_path / "checkpoints").exists()
    assert run(recipes, images, tmp_path).exists()


@pytest.mark.parametrize("change", ["run.seed=5", "run.batch_size=2", "run.ema_decay=0.5"])
def test_another_run_is_not_resumed(
    change: str, recipes: Path, images: Path, tmp_path: Path
) -> None:
    run(recipes, images, tmp_path)
    name = change.partition("=")[0].removeprefix("run.")
    with pytest.raises(ValueError, match=f"holds a run with {name} .* keep it or choose"):
        run(recipes, images, tmp_path, change, "run.steps=1000")

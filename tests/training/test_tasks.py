"""Both trainings, in this process: what they write, what they refuse, and that they learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import demask
from demask.config import load_toml, override, parse
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.order import step_indices
from demask.training.tasks import train
from demask.training.tasks.masked import MaskedTraining
from demask.training.tasks.tokenizer import TokenizerTraining


def tokenizer_recipe(recipes: Path, images: Path, *changes: str) -> TokenizerTraining:
    data = f"data.pictures={images}"
    file = recipes / "tokenizer.toml"
    return parse(TokenizerTraining, override(load_toml(file), [data, *changes]), str(file))


def masked_recipe(recipes: Path, images: Path, *changes: str) -> MaskedTraining:
    data = f"data.pictures={images}"
    file = recipes / "masked.toml"
    return parse(MaskedTraining, override(load_toml(file), [data, *changes]), str(file))


def test_from_a_folder_of_images_to_a_model_that_generates(
    recipes: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    tracked = 'run.tracker="tensorboard"'
    train("tokenizer", tokenizer_recipe(recipes, images, tracked), out)
    train("masked", masked_recipe(recipes, images, tracked), out)
    generator = demask.load(str(out))
    assert generator.class_names == ("blue", "red")
    generated = generator.generate(["red", "blue"], num_images=4, steps=2)
    assert [p.image.size for p in generated] == [(8, 8)] * 4
    assert list((out / "log").rglob("events.out.tfevents.*")), "TensorBoard has something to show"
    assert not list(out.rglob("*.tmp"))


def test_the_tokenizer_learns_the_colours(recipes: Path, images: Path, tmp_path: Path) -> None:
    changes = ("run.steps=150", "run.batch_size=8", "tokenizer.loss.adversarial=0.0")
    rate = "tokenizer.optim.learning_rate=0.01"
    path = train("tokenizer", tokenizer_recipe(recipes, images, rate, *changes), tmp_path)
    tokenizer = demask.checkpoint.load.load_model(str(path), dtype=torch.float32)
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    with torch.no_grad():
        made = tokenizer.decode(tokenizer.encode(red)).mean((0, 2, 3))
    assert made[0] > made[1] + 0.3
    assert made[0] > made[2] + 0.3


def test_a_run_is_never_resumed_as_another(recipes: Path, images: Path, tmp_path: Path) -> None:
    train("tokenizer", tokenizer_recipe(recipes, images), tmp_path)
    other = tokenizer_recipe(recipes, images, "tokenizer.shift=0", "run.steps=9")
    with pytest.raises(ValueError, match="holds a run of another model or other data"):
        train("tokenizer", other, tmp_path)


def test_a_longer_run_goes_on(recipes: Path, images: Path, tmp_path: Path) -> None:
    train("tokenizer", tokenizer_recipe(recipes, images), tmp_path)
    train("tokenizer", tokenizer_recipe(recipes, images, "run.steps=10"), tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoints" / "tokenizer").iterdir())
    assert names == ["step-00000008.pt", "step-00000010.pt"]


def test_fine_tuning_starts_from_what_fits(
    recipes: Path, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    still = ("run.steps=1", "transformer.optim.learning_rate=0.0")
    still += ("transformer.optim.matrix_learning_rate=0.0",)
    train("tokenizer", tokenizer_recipe(recipes, images), tmp_path / "first")
    first = train("masked", masked_recipe(recipes, images), tmp_path / "first")
    tokenizer = tmp_path / "first" / "tokenizer.safetensors"

    same = masked_recipe(recipes, images, *still)
    second = train("masked", same, tmp_path / "second", init=str(first), tokenizer=tokenizer)
    before, after = load_file(first), load_file(second)
    assert all(torch.equal(before[name], after[name]) for name in before)

    (images / "green").mkdir()
    (images / "red" / "1.png").rename(images / "green" / "1.png")
    more = masked_recipe(recipes, images, *still)
    with caplog.at_level("INFO"):
        third = train("masked", more, tmp_path / "third", init=str(first), tokenizer=tokenizer)
    assert "random: embed_class.weight" in caplog.text
    other = load_file(third)
    assert other["embed_class.weight"].shape[0] == 4
    assert torch.equal(other["embed.weight"], before["embed.weight"])
    with pytest.raises(ValueError, match="none of its tensors fits"):
        train("tokenizer", tokenizer_recipe(recipes, images), tmp_path / "x", init=str(first))


def test_mistakes_are_named(recipes: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run 'demask train tokenizer' with the same --out"):
        train("masked", masked_recipe(recipes, images), tmp_path)
    with pytest.raises(ValueError, match="no training images"):
        DataConfig().open(strict=False)
    with pytest.raises(ValueError, match="batch_size 4 cannot be split"):
        train("tokenizer", tokenizer_recipe(recipes, images, "run.accumulate=3"), tmp_path)
    with pytest.raises(ValueError, match="size 9 is no multiple of 2"):
        train("tokenizer", tokenizer_recipe(recipes, images, "tokenizer.size=9"), tmp_path)
    with pytest.raises(ValueError, match="Valid: auto, no, bf16, fp16"):
        TrainConfig(steps=1, precision="int8")


def test_unreadable_images_are_skipped_or_an_error(
    recipes: Path, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / "red" / "0.png").write_bytes(b"not an image")
    train("tokenizer", tokenizer_recipe(recipes, images), tmp_path / "skipping")
    assert "1 of 20 images can't be read and are skipped" in caplog.text
    with pytest.raises(ValueError, match=r"unreadable image .*red.0\.png"):
        train("tokenizer", tokenizer_recipe(recipes, images), tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_the_held_out_part_is_not_trained_on(images: Path) -> None:
    source = DataConfig(pictures=str(images), held_out_fraction=0.25)
    train, held_out = source.open(strict=False)
    assert (len(train), len(held_out)) == (15, 5)
    assert {train[i].name for i in range(15)}.isdisjoint(held_out[i].name for i in range(5))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_epoch_sees_every_example_once(world: int) -> None:
    run = TrainConfig(steps=1, batch_size=8)
    seen = [
        index
        for step in range(15)
        for index in torch.stack(
            [step_indices(20, run, step, rank, world) for rank in range(world)], dim=1
        )
        .flatten()
        .tolist()
    ]
    epochs = [seen[start : start + 20] for start in range(0, 120, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1], "each in its own order"

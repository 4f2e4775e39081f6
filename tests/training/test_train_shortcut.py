"""A shortcut's training: learned from the model alone, resumed to the same bits, and used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import demask
from demask.assembly import load
from demask.checkpoint.load import read_metadata
from demask.checkpoint.lora import base_fingerprint
from demask.training.tasks import train
from demask.training.tasks.shortcut import (
    ShortcutOptim,
    ShortcutRecipe,
    ShortcutTask,
    ShortcutTrainConfig,
    ShortcutTraining,
)
from demask.training.trajectories import sampled
from demask.transformer.shortcut import Shortcut
from tiny import save_tiny, save_tiny_text

WORDS = ("red apple", "blue heart")
SETTINGS = {"steps": 6, "guidance_scale": 3.0, "guidance_schedule": "ramp"}
RECIPE = ShortcutRecipe(
    heads=1, pictures=12, settings=SETTINGS, optim=ShortcutOptim(learning_rate=3e-3, warmup=5)
)
RUN = ShortcutTrainConfig(
    steps=6, batch_size=4, save_every=3, validate_every=6, ema_decay=0.9, tracker="none"
)


@pytest.fixture(params=["classes", "prompts"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, tuple[str, ...]]:
    """A tiny model in a folder, and what it is asked to generate."""
    if request.param == "classes":
        return str(save_tiny(tmp_path / "tiny")), ()
    return str(save_tiny_text(tmp_path / "tiny")), WORDS


def test_it_learns_what_comes_next_and_then_generates(model: tuple[str, tuple[str, ...]]) -> None:
    folder, words = model
    run = replace(RUN, steps=60, save_every=60, validate_every=60)
    path = train(
        "shortcut", ShortcutTraining(RECIPE, run), Path(folder), model=folder, prompts=words
    )
    assert path == Path(folder) / "shortcut.safetensors"
    generator = demask.load(folder)
    network = generator.aux.get("shortcut")
    assert isinstance(network, Shortcut)
    assert network.config.width == 4 * (generator.transformer.config.width // 8)  # type: ignore[attr-defined]
    assert read_metadata(path)["base"] == base_fingerprint(generator.transformer)  # type: ignore[arg-type]
    text_generator = load(folder, low_memory=True)
    text_generator = replace(text_generator, settings=text_generator.chosen(**SETTINGS))
    task = ShortcutTask(RECIPE, text_generator, list(words) or None)
    with torch.no_grad():
        scores = task.validate(network.float())
    assert scores["error"] < 0.95 * scores["error of a cache"]
    assert scores["divergence"] < scores["divergence of a cache"]
    condition_input = words[0] if words else "cat"
    plain, fast = (
        [
            p.image.tobytes()
            for p in generator.generate(condition_input, 4, accelerators=names, **SETTINGS)
        ]
        for names in ((), ("shortcut:6",))
    )
    assert plain != fast


def test_a_broken_run_goes_on_to_the_same_bits(
    model: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    folder, words = model
    training = ShortcutTraining(RECIPE, RUN)
    first = load_file(train("shortcut", training, tmp_path / "whole", model=folder, prompts=words))
    train("shortcut", training, tmp_path / "broken", model=folder, prompts=words)
    (tmp_path / "broken" / "checkpoints" / "shortcut" / "step-00000006.pt").unlink()
    second = load_file(
        train("shortcut", training, tmp_path / "broken", model=folder, prompts=words)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_trajectories_are_those_of_the_generator(tmp_path: Path) -> None:
    generator = load(str(save_tiny(tmp_path)), low_memory=True)
    generator = replace(generator, settings=generator.chosen(**SETTINGS))
    found = sampled(generator, None, 5, 7)
    states = list(generator.stream(num_images=5, seed=7))
    assert torch.equal(found.ids_NTL[:, 1:], torch.stack([s.ids_BL for s in states[:-1]], 1))
    assert found.features_NPTSD.shape == (5, 2, 6, 16, 32)
    assert len(found.conditions) == 2
    assert found.scale_T[-1] == 3.0


def test_the_target_itself_has_no_error(tmp_path: Path) -> None:
    """A cache is exact where nothing changes."""
    generator = load(str(save_tiny(tmp_path)), low_memory=True)
    task = ShortcutTask(replace(RECIPE, settings={}), generator, None)
    batch = task.rows(task.pool, torch.arange(4), torch.zeros(4, dtype=torch.long))
    batch["features_BRPSD"][:, 1:] = batch["features_BRPSD"][:, :1]
    error, divergence = task.errors(None, batch)
    assert error == divergence == 0


def test_what_it_refuses(tmp_path: Path) -> None:
    words, classes = str(save_tiny_text(tmp_path / "w")), str(save_tiny(tmp_path / "c"))
    training = ShortcutTraining(RECIPE, RUN)
    with pytest.raises(ValueError, match="name some to generate with --prompts"):
        train("shortcut", training, tmp_path / "out", model=words)
    with pytest.raises(ValueError, match="leave --prompts out"):
        train("shortcut", training, tmp_path / "out", model=classes, prompts=["cat"])
    few = replace(training, shortcut=replace(RECIPE, settings={"steps": 2}))
    with pytest.raises(ValueError, match="2 steps are too few for a rollout of 2"):
        train("shortcut", few, tmp_path / "out", model=classes)
    spatial = {"guidance_scale": 2.0, "guidance_method": "spatial"}
    other = replace(training, shortcut=replace(RECIPE, settings=spatial))
    with pytest.raises(ValueError, match="classifier_free guidance or none, not spatial"):
        train("shortcut", other, tmp_path / "out", model=classes)
    with pytest.raises(ValueError, match="rollout must be at least 1"):
        ShortcutRecipe(rollout=0)
    with pytest.raises(ValueError, match="one of them above 0"):
        ShortcutRecipe(features=0, logits=0)
    assert not (tmp_path / "out").exists()

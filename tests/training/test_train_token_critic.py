"""The Token-Critic's training: what it learns, what it writes, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import demask
from demask.assembly import load_parts
from demask.checkpoint.load import read_metadata
from demask.checkpoint.lora import base_fingerprint
from demask.data.tokens import load_tokens
from demask.data.views import ModelViews
from demask.training.data import DataConfig
from demask.training.tasks import train
from demask.training.tasks.token_critic import (
    TokenCriticOptim,
    TokenCriticRecipe,
    TokenCriticTask,
    TokenCriticTrainConfig,
    TokenCriticTraining,
)
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from tiny import CLASS_NAMES, TinyTokens, save_tiny, tiny_tokenizer, tiny_transformer

RECIPE = TokenCriticRecipe(
    width=32,
    depth=1,
    heads=2,
    mlp_width=32,
    optim=TokenCriticOptim(learning_rate=3e-3, matrix_learning_rate=1e-2, warmup=5),
)
RUN = TokenCriticTrainConfig(
    steps=8, batch_size=8, save_every=4, validate_every=8, ema_decay=0.9, tracker="none"
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four plain images of each of the tiny model's classes, all of one colour."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASS_NAMES):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for count in range(4):
            pixels = np.full((16, 16, 3), 60 * number, np.uint8) + random.integers(0, 9, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{count}.png")
    return tmp_path / "pictures"


def training(images: Path, **run: object) -> TokenCriticTraining:
    data = DataConfig(pictures=str(images), held_out_fraction=0.3)
    return TokenCriticTraining(RECIPE, ModelViews(), replace(RUN, **run), data)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_tiny(tmp_path / "tiny"))


def test_it_learns_which_tokens_the_model_made_up_and_then_generates(
    images: Path, model: str
) -> None:
    out = Path(model)
    path = train("token_critic", training(images, steps=60, save_every=60), out, model=model)
    assert path == out / "token_critic.safetensors"
    assert read_metadata(path)["base"] == base_fingerprint(tiny_transformer())
    assert max(t.dtype.itemsize for t in load_file(path).values()) == 2
    generator = demask.load(model)
    critic = generator.aux.get("token_critic")
    caches = [load_tokens(folder) for folder in sorted((out / "tokens").iterdir())]
    held_out = min(caches, key=len)
    task = TokenCriticTask(RECIPE, tiny_transformer(), caches[0], held_out, tiny_tokenizer())
    with torch.no_grad():
        scores = task.validate(critic.float())
    assert scores["ranking"] > 0.8
    assert scores["cross_entropy"] < 0.55
    chosen = generator.generate("cat", order="critic", steps=4, seed=3)[0]
    usual = generator.generate("cat", steps=4, seed=3)[0]
    assert chosen.image.tobytes() != usual.image.tobytes()


def test_a_broken_run_goes_on_to_the_same_bits(images: Path, model: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = load_file(train("token_critic", training(images), whole, model=model))
    train("token_critic", training(images), broken, model=model)
    (broken / "checkpoints" / "token_critic" / "step-00000008.pt").unlink()
    second = load_file(train("token_critic", training(images), broken, model=model))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_masked_places_hold_the_models_guesses_and_the_others_the_truth(
    images: Path, model: str, tmp_path: Path
) -> None:
    train("token_critic", training(images, steps=1), tmp_path / "out", model=model)
    cache = load_tokens(next((tmp_path / "out" / "tokens").iterdir()))
    base = load_parts(model).transformer
    task = TokenCriticTask(RECIPE, base, cache, cache, tiny_tokenizer())
    indices, generator = torch.arange(len(cache)), torch.Generator().manual_seed(0)
    batch = task.load(indices, generator)
    true_BL = cache.read(indices, torch.zeros_like(indices))[0]
    filled_BL, masked_BL = task.filled(batch, generator), batch["masked_BL"]
    assert torch.equal(filled_BL[~masked_BL], true_BL[~masked_BL])
    assert filled_BL.max() < base.codebook_size
    assert (filled_BL[masked_BL] != true_BL[masked_BL]).any()
    assert not any(p.requires_grad for p in base.parameters())


def test_the_loss_is_low_where_real_tokens_are_called_real() -> None:
    task = TokenCriticTask(RECIPE, tiny_transformer(), TinyTokens(), TinyTokens(), tiny_tokenizer())
    batch = task.load(torch.arange(8), torch.Generator().manual_seed(0))
    real_BL = torch.where(batch["masked_BL"], -4.0, 4.0)  # the log odds of what is told apart
    task.modules["token_critic"] = lambda filled_BL, class_ids_B: real_BL
    loss, values = task.loss("judge", batch, 0, torch.Generator())
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-4)
    assert values["accuracy"] == 1


def test_it_starts_from_what_fits_of_the_model() -> None:
    base = tiny_transformer()
    critic = TokenCritic(TokenCriticConfig(15, 3, (4, 4), width=32, depth=1, heads=2, mlp_width=32))
    taken = critic.take_over(base)
    assert torch.equal(critic.embed.weight, base.embed.weight[:15])
    assert torch.equal(critic.blocks[0].mlp.up.weight, base.blocks[0].mlp.up.weight)
    assert not any(name.startswith("head") for name in taken)
    narrow = TokenCritic(TokenCriticConfig(15, 3, (4, 4), width=16, depth=1, heads=2))
    assert narrow.take_over(base) == []


def test_what_does_not_fit_is_refused(images: Path, model: str, tmp_path: Path) -> None:
    (images / "dog").rename(images / "frog")
    with pytest.raises(ValueError, match="frog"):
        train("token_critic", training(images), tmp_path / "out", model=model)
    with pytest.raises(ValueError, match="unknown mask ratio 'cosin'"):
        TokenCriticRecipe(ratio="cosin")
    with pytest.raises(ValueError, match="temperature must be above 0"):
        TokenCriticRecipe(temperature=0)

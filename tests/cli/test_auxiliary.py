"""A weaker model and a Token-Critic, from their files to an image, and those that don't fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import demask
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.save import save_model
from demask.guidance import AutoGuidance, Constant
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from demask.types import Condition, Step, TokenLayout
from tiny import save_tiny, save_tiny_text, tiny_meissonic, tiny_transformer

AUTO = ("--guidance-method", "autoguidance", "--guidance-scale", "2", "--steps", "3")
CRITIC = ("--order", "critic", "--steps", "3")


def smaller(**changes: int) -> ModernMaskGIT:
    torch.manual_seed(5)
    config = replace(tiny_transformer().config, width=16, depth=1, mlp_width=16, **changes)
    model = ModernMaskGIT(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny")


def test_a_smaller_model_guides_from_its_file(folder: Path, tmp_path: Path, run: Callable) -> None:
    path = tmp_path / "early.safetensors"
    weaker = smaller()
    save_model(path, weaker, "modern_maskgit")
    generator = demask.load(str(folder), aux=[str(path)])
    settings = generator.settings.updated(guidance_scale=2.5, guidance_method="autoguidance")
    step = Step(0, 4, TokenLayout((4, 4)), torch.ones(1))
    ids_BL = torch.full((1, 16), 15)
    told = Condition({"class_ids": torch.tensor([1])})
    with torch.no_grad():
        guided_BLV = generator.guided(settings)(ids_BL, told, step).logits_BLV
        expected = AutoGuidance(generator.transformer.predict, Constant(2.5), weaker.predict)
        torch.testing.assert_close(guided_BLV, expected(ids_BL, told, step).logits_BLV)
    words = ["generate", "--model", folder, "--aux", path, "--class", "cat", "-n", "1"]
    result = run(*words, *AUTO, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize(
    ("weaker", "line"),
    [
        (
            lambda: ModernMaskGIT(ModernMaskGITConfig(16, 3, (4, 4), 32, 1, 2, 32)),
            "knows 16 codes and the mask 16, the model 15 codes and the mask 15",
        ),
        (lambda: smaller(num_classes=4), "knows 4 classes, the model 3"),
        (tiny_meissonic, "reads prompts, the model classes"),
    ],
)
def test_a_model_of_other_tokens_or_conditions_is_refused(
    weaker: Callable, line: str, folder: Path, tmp_path: Path, refused: Callable
) -> None:
    path, model = tmp_path / "other.safetensors", weaker()
    save_model(path, model, "meissonic" if hasattr(model, "context") else "modern_maskgit")
    words = ["generate", "--model", folder, "--aux", path, "--out", tmp_path / "out"]
    assert line in refused(*words, *AUTO)


def test_without_a_weaker_model_it_says_how_to_get_one(folder: Path, refused: Callable) -> None:
    line = refused("generate", "--model", folder, *AUTO)
    assert "has no weaker network: name a transformer" in line


def save_critic(path: Path, base: str) -> TokenCritic:
    torch.manual_seed(7)
    critic = TokenCritic(TokenCriticConfig(15, 3, (4, 4), 16, 1, 2, 16)).eval()
    torch.nn.init.normal_(critic.head.weight)
    save_model(path, critic, "token_critic", base=base)
    return critic


def test_a_critic_in_the_folder_chooses(folder: Path, tmp_path: Path, run: Callable) -> None:
    critic = save_critic(folder / "token_critic.safetensors", base_fingerprint(tiny_transformer()))
    generator = demask.load(str(folder))
    settings = generator.settings.updated(order="critic", choice_temperature=0.0)
    order = generator.sampler(settings).order
    assert order.choice_temperature.value == 0
    ids_BL = torch.tensor([[0, *range(15)]])
    told = Condition({"class_ids": torch.tensor([1])})
    with torch.no_grad():
        score_BL = order.score(ids_BL, told, Step(0, 4, TokenLayout((4, 4)), torch.ones(1)))
        torch.testing.assert_close(score_BL, critic(ids_BL, told["class_ids"]))
    words = ["generate", "--model", folder, "--class", "cat", "-n", "1"]
    result = run(*words, *CRITIC, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert list((tmp_path / "out").rglob("*.png"))


def test_a_critic_of_another_model_is_refused(
    folder: Path, tmp_path: Path, refused: Callable
) -> None:
    line = refused("generate", "--model", folder, *CRITIC)
    assert "has no token_critic network: train one with 'demask train token-critic'" in line
    save_critic(tmp_path / "critic.safetensors", "0123456789abcdef")
    words = ["generate", "--model", folder, "--aux", tmp_path / "critic.safetensors"]
    assert "trained beside another model" in refused(*words, *CRITIC)


def test_no_critic_learns_beside_a_model_of_prompts(tmp_path: Path, refused: Callable) -> None:
    model = save_tiny_text(tmp_path / "words")
    line = refused("train", "token-critic", "--model", model, "--data", tmp_path)
    assert "reads prompts; a Token-Critic is for a model of classes" in line

"""Halton-MaskGIT and MaskGIT-pytorch 1.0 are trained from scratch by `demask train masked`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import demask
from demask.checkpoint.architectures import ARCHITECTURES
from demask.config import load_toml, override, parse
from demask.training.masking import Masking, mask_tokens
from demask.training.tasks import train
from demask.training.tasks.masked import (
    CLASS_TRANSFORMERS,
    MaskedRecipe,
    MaskedTask,
    MaskedTraining,
)
from demask.training.tasks.self_guidance import SelfGuidanceRecipe, SelfGuidanceTask
from demask.training.tasks.tokenizer import TokenizerTraining
from demask.transformer.halton_maskgit import HaltonMaskGIT, HaltonMaskGITConfig
from tiny import TinyTokens, tiny_tokenizer


def trained(recipes: Path, images: Path, out: Path, *changes: str) -> Path:
    data = f"data.pictures={images}"
    for kind, row in (("tokenizer", TokenizerTraining), ("masked", MaskedTraining)):
        tables = override(load_toml(recipes / f"{kind}.toml"), [data])
        tables = override(tables, list(changes)) if kind == "masked" else tables
        path = train(kind, parse(row, tables, kind), out)
    return path


@pytest.mark.parametrize("architecture", CLASS_TRANSFORMERS)
def test_from_images_to_a_model_that_generates(
    architecture: str, recipes: Path, images: Path, tmp_path: Path
) -> None:
    trained(recipes, images, tmp_path, f'transformer.architecture="{architecture}"')
    generator = demask.load(tmp_path)
    kind = type(generator.transformer).__name__.lower()
    assert kind == architecture.replace("_", "")
    shown = generator.generate(["red", "blue"], steps=3, order="halton", schedule="halton")
    assert [image.image.size for image in shown] == [(8, 8)] * 2


def test_it_learns_what_it_is_shown(recipes: Path, images: Path, tmp_path: Path) -> None:
    path = trained(
        recipes,
        images,
        tmp_path,
        'transformer.architecture="halton_maskgit"',
        'transformer.optim.optimizer="adamw"',
        "transformer.optim.learning_rate=0.01",
        "transformer.masking.visible_weight=1.0",
        "run.steps=60",
    )
    model = demask.checkpoint.load.load_model(path, dtype=torch.float32)
    assert isinstance(model, HaltonMaskGIT)
    ids_BL = torch.full((2, 16), model.mask_id)
    with torch.no_grad():
        logits_BLV = model(ids_BL, torch.tensor([0, 1]))
    p_BV = logits_BLV.softmax(-1).mean(1)
    assert float(p_BV[:, model.mask_id].max()) < 0.04, "the mask is never a target"
    assert float((p_BV[0] - p_BV[1]).abs().sum()) > 0.5, "the classes differ"


@torch.no_grad()
def test_the_loss_is_over_all_tokens_of_the_whole_vocabulary() -> None:
    torch.manual_seed(0)
    model = HaltonMaskGIT(HaltonMaskGITConfig(8, 3, (2, 2), 16, 1, 2, mlp_width=16)).eval()
    torch.nn.init.normal_(model.head_bias)
    task = SimpleNamespace(modules={"transformer": model}, recipe=MaskedRecipe(label_smoothing=0.0))
    ids_BL, class_ids_B = torch.tensor([[1, 8, 3, 8]]), torch.tensor([2])
    target_BL = torch.tensor([[1, 4, 3, 0]])
    batch = {
        "input_BL": ids_BL,
        "class_ids": class_ids_B,
        "target_BL": target_BL,
        "weight_BL": torch.ones(1, 4),
    }
    generator = torch.Generator()
    loss, _ = MaskedTask.loss(task, "predict", batch, 0, generator)  # type: ignore[arg-type]
    log_p_BLV = model(ids_BL, class_ids_B).log_softmax(-1)
    assert log_p_BLV.shape[-1] == 9
    assert float(loss) == pytest.approx(-float(log_p_BLV[0, range(4), target_BL[0]].mean()))


def test_independent_masks_vary_in_number() -> None:
    ids_BL = torch.zeros(4000, 100, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    masked = mask_tokens(ids_BL, Masking("arccos", independent=True), 5, 5, generator)
    count_B = masked.masked_BL.sum(-1)
    assert float(count_B.double().mean()) == pytest.approx(200 / torch.pi, abs=1.5)
    assert (count_B == 0).any(), "their program does not mask at least one"


def test_another_architecture_is_an_error(recipes: Path) -> None:
    change = ['transformer.architecture="halton"']
    with pytest.raises(
        ValueError, match="unknown architecture 'halton'; did you mean 'halton_mask"
    ):
        parse(MaskedTraining, override(load_toml(recipes / "masked.toml"), change), "masked")


@pytest.mark.parametrize("architecture", ["halton_maskgit", "maskgit_v1"])
def test_a_self_guidance_module_learns_beside_them(architecture: str) -> None:
    torch.manual_seed(0)
    row = ARCHITECTURES[architecture]
    base = row.module(row.config(15, 3, (4, 4), 32, 2, 2, mlp_width=32)).eval()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    recipe = SelfGuidanceRecipe(class_dropout=0.1)
    task = SelfGuidanceTask(recipe, base, TinyTokens(), TinyTokens(), tiny_tokenizer())
    module = task.modules[task.main]
    optimizer = torch.optim.AdamW(module.parameters(), 0.01)
    generator = torch.Generator().manual_seed(0)
    batch, losses = task.load(torch.arange(16), generator), []
    for step in range(40):
        loss, _ = task.loss(next(iter(task.phases)), batch, step, generator)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.05
    assert not any(p.requires_grad for p in base.parameters())


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("titok_two_stage", "its tokens are a row of 16 tokens; these transformers read a grid"),
        ("titok_uvit", "holds a UViT, which is not a tokenizer"),
    ],
)
def test_another_tokenizer_is_refused_before_any_work(
    case: str, message: str, golden: Path, recipes: Path, images: Path, tmp_path: Path
) -> None:
    tables = override(load_toml(recipes / "masked.toml"), [f"data.pictures={images}"])
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        train("masked", parse(MaskedTraining, tables, "masked"), out, tokenizer=golden / case)
    assert not (out / "tokens").exists()

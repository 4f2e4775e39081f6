"""A classifier's training: what it learns, what it writes, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from demask.data import open_images
from demask.evaluation.extractors import load_extractor
from demask.evaluation.patch_mixer import PatchMixerConfig
from demask.evaluation.small_conv import SmallConvConfig
from demask.training.data import DataConfig
from demask.training.engine.config import TrainConfig
from demask.training.engine.optim import Optim
from demask.training.tasks import train
from demask.training.tasks.classifier import (
    ClassifierRecipe,
    ClassifierTraining,
    augmented,
    in_memory,
)

OPTIM = Optim(learning_rate=0.01, matrix_learning_rate=0.01, warmup=2)
RECIPES = {
    "small_conv": ClassifierRecipe(
        SmallConvConfig(2, (4, 4), 5, residual=1), size=8, shift=1, cutout=2, optim=OPTIM
    ),
    "patch_mixer": ClassifierRecipe(
        patch_mixer=PatchMixerConfig(2, 8, (4, 4), 5, 1, 4, 8), size=8, shift=1, optim=OPTIM
    ),
}
RUN = TrainConfig(
    steps=8, batch_size=8, save_every=4, validate_every=4, ema_decay=0.9, tracker="none"
)


def training(kind: str, images: Path, **run: object) -> ClassifierTraining:
    data = DataConfig(str(images), str(images))
    return ClassifierTraining(RECIPES[kind], replace(RUN, **run), data)


@pytest.mark.parametrize("kind", RECIPES)
def test_it_learns_and_measures(
    kind: str, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    options = {"steps": 40, "save_every": 40, "validate_every": 40, "log_every": 1}
    path = train("classifier", training(kind, images, **options), tmp_path / "out")
    losses = [
        float(r.message.split("classify/loss ")[1].split()[0])
        for r in caplog.records
        if "classify/loss" in r.message
    ]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert path == tmp_path / "out" / "classifier.safetensors"
    assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {torch.float16}

    extractor = load_extractor(f"cifar10_conv:weights={path}")
    assert (extractor.name, extractor.size) == ("cifar10_conv:out", 8)
    shown = open_images(images)
    assert extractor.class_names == tuple(shown.class_names) == ("blue", "red")
    pixels_NCHW, label_N = in_memory(shown, 8)
    features_ND, logits_NK = extractor(pixels_NCHW.float() / 255)
    assert features_ND.shape == (20, 5)
    assert logits_NK is not None
    assert torch.equal(logits_NK.argmax(-1), label_N)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_resumed_run_ends_with_the_same_bits(kind: str, images: Path, tmp_path: Path) -> None:
    recipe, last = training(kind, images), "checkpoints/classifier/step-00000008.pt"
    out = tmp_path / "out"
    first = load_file(train("classifier", recipe, out))
    state = torch.load(out / last, weights_only=True)
    (out / last).unlink()
    (out / "classifier.safetensors").unlink()
    second = load_file(train("classifier", recipe, out))
    again = torch.load(out / last, weights_only=True)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for module in state["modules"]:
        before, after = state["modules"][module], again["modules"][module]
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_images_are_augmented_each_in_its_own_way() -> None:
    recipe = RECIPES["small_conv"]
    pixels_BCHW = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8).expand(64, -1, -1, -1)
    image_BCHW = augmented(pixels_BCHW, recipe, torch.Generator().manual_seed(0))
    assert image_BCHW.shape == (64, 3, 8, 8)
    assert len({image.numpy().tobytes() for image in image_BCHW}) > 32
    hole_B = (image_BCHW == 0.5).all(1).sum((1, 2))
    assert hole_B.max() == 4  # 2x2; fewer where it lies across the edge
    plain = replace(recipe, flip=False, shift=0, cutout=0)
    same_BCHW = augmented(pixels_BCHW, plain, torch.Generator())
    assert torch.equal(same_BCHW, pixels_BCHW.float() / 255)


def test_refuses(images: Path, tmp_path: Path) -> None:
    (images / "green").mkdir()
    (images / "red" / "0.png").rename(images / "green" / "0.png")
    with pytest.raises(ValueError, match="has 2 classes, the images have 3"):
        train("classifier", training("small_conv", images), tmp_path / "out")
    with pytest.raises(ValueError, match="one of the tables"):
        ClassifierRecipe()
    with pytest.raises(ValueError, match="patch_mixer has size 8, the classifier 32"):
        replace(RECIPES["patch_mixer"], size=32)
    with pytest.raises(ValueError, match="cutout of 9 pixels is larger than the image"):
        replace(RECIPES["small_conv"], cutout=9)
    with pytest.raises(ValueError, match="shift must be within 0 and 7, not 8"):
        replace(RECIPES["small_conv"], shift=8)

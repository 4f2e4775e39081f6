"""Training from captions: what is learned, dropped, held out, frozen and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demask.checkpoint.load import load_model
from demask.checkpoint.text_encoder import load_text_encoder
from demask.config import load_toml, override, parse
from demask.data import open_images
from demask.data.tokens import build_tokens
from demask.training.captioned import CaptionRecipe, epoch
from demask.training.engine.task import Batch
from demask.training.tasks import train
from demask.training.tasks.masked import MaskedTraining
from demask.training.tasks.text import TextTask
from demask.training.tasks.tokenizer import TokenizerTraining

RECIPE = """
[views]
size = 8
count = 1
flip = false

[meissonic]
heads = 2
head_width = 8
blocks = 1
single_blocks = 1
axes = [0, 4, 4]

[meissonic.text]
vocabulary = 520
length = 8
width = 16
mlp_width = 16
layers = 2
heads = 2

[run]
steps = 4
batch_size = 4
save_every = 2
validate_every = 4
log_every = 1
tracker = "none"
"""


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Eight images with a text file each."""
    random = np.random.default_rng(0)
    folder = tmp_path / "captioned"
    folder.mkdir()
    for number in range(8):
        channel, name = ((0, "red"), (2, "blue"))[number % 2]
        pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
        pixels[..., channel] += 160
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{name} square {number}\na {name} one {number}\n")
    return folder


def text_recipe(captioned: Path, *changes: str) -> MaskedTraining:
    recipe = captioned.parent / "text.toml"
    recipe.write_text(RECIPE)
    data = [f"data.pictures={captioned}", f"data.held_out={captioned}"]
    return parse(MaskedTraining, override(load_toml(recipe), [*data, *changes]), str(recipe))


@pytest.fixture
def out(captioned: Path, recipes: Path, tmp_path: Path) -> Path:
    """A folder with a tokenizer of a few steps."""
    recipe = override(load_toml(recipes / "tokenizer.toml"), [f"data.pictures={captioned}"])
    train("tokenizer", parse(TokenizerTraining, recipe, "tokenizer.toml"), tmp_path / "model")
    return tmp_path / "model"


def test_it_writes_a_transformer_and_its_text_encoder(captioned: Path, out: Path) -> None:
    train("masked", text_recipe(captioned), out)
    assert (out / "transformer.safetensors").is_file()
    text = load_text_encoder(out / "text_encoder")
    assert text.tokenizer.length == 8
    assert not list(out.rglob("*.tmp"))


def test_a_frozen_text_encoder_stays(captioned: Path, out: Path) -> None:
    train("masked", text_recipe(captioned), out)
    before = load_file(out / "text_encoder" / "model.safetensors")
    frozen = ("meissonic.text.frozen=true", f"meissonic.text.pretrained={out / 'text_encoder'}")
    other = out.parent / "other"
    tokenizer = out / "tokenizer.safetensors"
    train("masked", text_recipe(captioned, *frozen), other, tokenizer=tokenizer)
    after = load_file(other / "text_encoder" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_frozen_one_must_be_pretrained(captioned: Path) -> None:
    with pytest.raises(ValueError, match="frozen text encoder must be pretrained"):
        text_recipe(captioned, "meissonic.text.frozen=true")


def test_a_recipe_trains_one_kind_of_model(captioned: Path) -> None:
    with pytest.raises(ValueError, match=r"one of the tables \[transformer\] and \[meissonic\]"):
        text_recipe(captioned, "transformer.width=16")


def test_a_model_of_classes_has_one_size(recipes: Path) -> None:
    recipe = override(load_toml(recipes / "masked.toml"), ["views.buckets=[[8, 8], [8, 16]]"])
    with pytest.raises(ValueError, match=r"several buckets are for \[meissonic\]"):
        parse(MaskedTraining, recipe, "masked.toml")


def test_several_shapes_are_trained_in_turn(captioned: Path, out: Path) -> None:
    Image.new("RGB", (16, 8), "green").save(captioned / "wide.png")
    (captioned / "wide.txt").write_text("green wide")
    buckets = "views.buckets=[[8, 8], [8, 16]]"
    path = train("masked", text_recipe(captioned, buckets, "run.steps=6"), out)
    assert path.is_file()


def test_images_without_captions_are_refused(images: Path, captioned: Path, out: Path) -> None:
    recipe = text_recipe(captioned, f"data.pictures={images}", f"data.held_out={images}")
    with pytest.raises(ValueError, match="20 of 20 images have no caption"):
        train("masked", recipe, out)


def test_captions_are_dropped_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    recipe = CaptionRecipe(dropout=0.25, alternatives=0.5)
    chosen = [recipe.choose(("first", "second", "third"), generator) for _ in range(4000)]
    assert abs(chosen.count("") / 4000 - 0.25) < 0.03
    assert abs(chosen.count("first") / 4000 - 0.375) < 0.03
    assert abs(chosen.count("third") / 4000 - 0.1875) < 0.03


def test_a_dropped_caption_is_the_empty_prompt_of_guidance(captioned: Path, out: Path) -> None:
    recipe = text_recipe(captioned, "meissonic.captions.dropout=1.0")
    train("masked", recipe, out)
    tokens = text_tokens(recipe, out)
    assert (tokens == tokens[0]).all()


def text_task(recipe: MaskedTraining, out: Path) -> TextTask:
    """What `train_masked` trains."""
    tokenizer = load_model(out / "tokenizer.safetensors", dtype=torch.float32)
    images = open_images(recipe.data.pictures)
    tokens = build_tokens(tokenizer, images, recipe.views, out / "tokens")
    assert recipe.meissonic is not None
    return TextTask(recipe.meissonic, tokens, tokens, tokenizer)


def batch(task: TextTask, count: int = 8) -> Batch:
    return task.load(torch.arange(count), torch.Generator().manual_seed(0))


def text_tokens(recipe: MaskedTraining, out: Path) -> torch.Tensor:
    """The text tokens of one batch."""
    return batch(text_task(recipe, out))["text_BT"]


def test_a_model_is_told_the_size_cut_and_score_of_each_image(captioned: Path, out: Path) -> None:
    for number, size in ((1, (16, 8)), (2, (4, 4))):
        Image.new("RGB", size, "green").save(captioned / f"{number}.png")
    rows = [f"{n}.png,square,{'7.5' if n == 3 else ''}" for n in range(8)]
    (captioned / "metadata.csv").write_text("\n".join(["file_name,text,score", *rows]))
    task = text_task(text_recipe(captioned), out)
    usual = [8, 8, 0, 0, 6]
    assert task.micro(task.tokens.layout.grid).tolist() == [usual]
    others = [usual] * 4
    wide, small, liked = [8, 8, 0, 4, 6], [4, 4, 0, 0, 6], [8, 8, 0, 0, 7.5]
    expected = [usual, wide, small, liked, *others]
    assert batch(task)["micro_B5"].tolist() == expected
    double = text_task(text_recipe(captioned, "meissonic.masking.complementary=true"), out)
    assert batch(double)["micro_B5"].tolist() == expected * 2


def test_whole_square_images_are_the_usual_case(captioned: Path, out: Path) -> None:
    """A cache from before there were micro-conditions gives the same batches."""
    task = text_task(text_recipe(captioned), out)
    before = batch(task)
    task.tokens = replace(task.tokens, micro=None)
    old = batch(task)
    assert all(torch.equal(before[name], old[name]) for name in before)


def test_rare_images_are_shown_once_an_epoch() -> None:
    recipe = CaptionRecipe(rare=("tone",), repeat=3)
    assert epoch([("hand",), ("hand dark tone",), ("cat",)], recipe) == [0, 0, 0, 1, 2, 2, 2]

"""Fine-tuning: what a training of a text model takes over from a checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demask.checkpoint.load import load_model
from demask.checkpoint.save import save_model
from demask.checkpoint.text_encoder import load_text_encoder
from demask.config import parse
from demask.training.start import transformer_of
from demask.training.tasks import train
from demask.training.tasks.masked import MaskedTraining
from demask.transformer.meissonic import Meissonic
from tiny import save_tiny, save_tiny_text, tiny_meissonic

TINY = {
    "heads": 2,
    "head_width": 8,
    "blocks": 1,
    "single_blocks": 1,
    "axes": [0, 4, 4],
    "text": {"vocabulary": 514, "length": 6, "width": 16, "mlp_width": 16, "layers": 2, "heads": 2},
}
PUBLIC = {"heads": 2, "head_width": 16, "blocks": 2, "single_blocks": 3, "axes": [4, 6, 6]}
STILL = {"learning_rate": 0.0, "weight_decay": 0.0}


@pytest.fixture
def recipe(tmp_path: Path) -> MaskedTraining:
    """One step at a learning rate of 0, on four captioned images."""
    random = np.random.default_rng(0)
    data = tmp_path / "captioned"
    data.mkdir()
    for number in range(4):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{number}.png")
        (data / f"{number}.txt").write_text(f"xylophone {number}")
    raw = {
        "views": {"size": 16, "count": 1, "flip": False},
        "data": {"pictures": str(data), "held_out": str(data)},
        "run": {"steps": 1, "batch_size": 4, "tracker": "none"},
        "meissonic": {**TINY, "optim": STILL},
    }
    return parse(MaskedTraining, raw)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of the tiny text model."""
    return save_tiny_text(tmp_path / "base")


def tuned(recipe: MaskedTraining, out: Path, init: Path, tokenizer: Path) -> dict:
    """The tensors of the transformer after the one step."""
    return load_file(train("masked", recipe, out, init=str(init), tokenizer=tokenizer))


@pytest.mark.parametrize("inside", ["", "transformer.safetensors"])
def test_a_model_brings_its_transformer_and_its_words(
    recipe: MaskedTraining, base: Path, tmp_path: Path, inside: str
) -> None:
    out, tokenizer = tmp_path / "out", base / "tokenizer.safetensors"
    after = tuned(recipe, out, base / inside, tokenizer)
    before = tiny_meissonic().state_dict()
    assert all(torch.equal(after[name], before[name].half()) for name in before)
    old, new = (load_text_encoder(folder / "text_encoder") for folder in (base, out))
    assert old.tokenizer.encoding.get_vocab() == new.tokenizer.encoding.get_vocab()
    weights = new.model.state_dict()
    assert all(torch.equal(weights[n], t.half()) for n, t in old.model.state_dict().items())

    again = recipe.run.__class__(steps=2, batch_size=4, tracker="none")
    longer = replace(recipe, run=again)
    train("masked", longer, out, init=str(base / inside), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="holds a run of another model"):
        train("masked", longer, out, tokenizer=tokenizer)


def test_its_words_go_before_those_of_the_recipe(
    recipe: MaskedTraining, base: Path, golden: Path, tmp_path: Path
) -> None:
    """A stage that names the published text encoder goes on with the one that was trained."""
    assert recipe.meissonic is not None
    text = replace(recipe.meissonic.text, pretrained=str(golden / "meissonic" / "text_encoder"))
    named = replace(recipe, meissonic=replace(recipe.meissonic, text=text))
    tuned(named, tmp_path / "out", base, base / "tokenizer.safetensors")
    assert load_text_encoder(tmp_path / "out" / "text_encoder").tokenizer.length == 6


def test_a_transformer_alone_learns_new_words(
    recipe: MaskedTraining, base: Path, tmp_path: Path
) -> None:
    shutil.rmtree(base / "text_encoder")
    after = tuned(recipe, tmp_path / "out", base, base / "tokenizer.safetensors")
    before = tiny_meissonic().state_dict()
    assert all(torch.equal(after[name], before[name].half()) for name in before)
    vocabulary = load_text_encoder(tmp_path / "out" / "text_encoder").tokenizer.encoding.get_vocab()
    assert len(vocabulary) == 514 + 2, "learned from these captions, and the two marks"


def test_compression_layers_start_anew(
    recipe: MaskedTraining, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As between the published stages 2 and 3."""
    plain = Meissonic(replace(tiny_meissonic().config, compress=False))
    save_model(base / "transformer.safetensors", plain, "meissonic")
    with caplog.at_level("INFO"):
        after = tuned(recipe, tmp_path / "out", base, base / "tokenizer.safetensors")
    anew = caplog.text.partition("; random: ")[2].splitlines()[0].split(", ")
    assert {name.split(".")[0] for name in anew} == {"down_block", "up_block"}
    before = plain.state_dict()
    assert set(after) == {*before, *anew}
    assert all(torch.equal(after[name], before[name].half()) for name in before)


def test_a_public_pipeline_loses_the_unused_rows_of_its_vocabulary(
    recipe: MaskedTraining, golden: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public = golden / "meissonic"
    bare = {**PUBLIC, "optim": STILL}
    changed = parse(
        MaskedTraining,
        {
            "views": {"size": 32, "count": 1, "flip": False},
            "data": {"pictures": recipe.data.pictures, "held_out": recipe.data.held_out},
            "run": {"steps": 1, "batch_size": 4, "tracker": "none"},
            "meissonic": bare,
        },
    )
    with caplog.at_level("INFO"):
        after = tuned(changed, tmp_path / "out", public, public / "vqvae")
    assert "random: " not in caplog.text
    before = load_model(public / "transformer").state_dict()
    rows = before.pop("embed.embeddings.weight")
    expected = torch.cat([rows[:64], rows[-1:]]).half()
    assert torch.equal(after["embed.embeddings.weight"], expected)
    assert all(torch.equal(after[name], before[name].half()) for name in before)
    words = load_text_encoder(tmp_path / "out" / "text_encoder").tokenizer
    assert words.ids(["the red apple"]).shape == (1, 77)


def test_what_does_not_fit_at_all_is_refused(
    recipe: MaskedTraining, base: Path, tmp_path: Path
) -> None:
    classes = save_tiny(tmp_path / "classes")
    tokenizer = base / "tokenizer.safetensors"
    with pytest.raises(ValueError, match="none of its tensors fits a Meissonic"):
        train("masked", recipe, tmp_path / "out", init=str(classes), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="no such file or directory, and not a hub id"):
        train(
            "masked", recipe, tmp_path / "out", init="gone/model.safetensors", tokenizer=tokenizer
        )
    assert not (tmp_path / "out" / "transformer.safetensors").exists()


def test_where_a_transformer_is(base: Path, golden: Path) -> None:
    file = base / "transformer.safetensors"
    assert transformer_of(str(base)) == transformer_of(str(file)) == file
    public = golden / "meissonic"
    part = public / "transformer"
    assert transformer_of(str(public)) == transformer_of(str(part)) == part

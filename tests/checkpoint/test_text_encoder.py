"""Text encoders on disk: ours come back, and others read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from demask.checkpoint.read import CheckpointError
from demask.checkpoint.text_encoder import load_text_encoder, save_text_encoder
from tiny import tiny_text_encoder

TEXTS = ["red apple", "", "a blue heart and more than fits"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_text_encoder(tmp_path / "text_encoder", tiny_text_encoder())
    return tmp_path / "text_encoder"


def test_it_comes_back(saved: Path) -> None:
    before, after = tiny_text_encoder(), load_text_encoder(saved)
    assert after.model.config == before.model.config
    assert not after.model.training
    ours, theirs = before.encode(TEXTS), after.encode(TEXTS)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not list(saved.glob(".*"))


def test_in_half_precision(tmp_path: Path) -> None:
    encoder = tiny_text_encoder()
    save_text_encoder(tmp_path, encoder, torch.float16)
    assert {p.dtype for p in load_text_encoder(tmp_path).model.parameters()} == {torch.float16}
    whole = load_text_encoder(tmp_path, dtype=torch.float32)
    before = encoder.model.state_dict()
    assert all(
        torch.equal(t, before[n].half().float()) for n, t in whole.model.state_dict().items()
    )
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_the_same(saved: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPTextModelWithProjection.from_pretrained(saved).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(saved)
    length = tiny_text_encoder().tokenizer.length
    options = {"padding": "max_length", "truncation": True, "max_length": length}
    inputs = tokenizer(TEXTS, return_tensors="pt", **options)
    with torch.no_grad():
        theirs = model(input_ids=inputs["input_ids"], output_hidden_states=True)
    ours = tiny_text_encoder().encode(TEXTS)
    assert torch.allclose(ours["states"], theirs.hidden_states[-2], atol=1e-5)
    assert torch.allclose(ours["pooled"], theirs.text_embeds, atol=1e-5)


def test_the_vocabulary_may_stand_in_a_folder_beside_it(saved: Path, tmp_path: Path) -> None:
    """As in public pipelines."""
    (tmp_path / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (saved / name).rename(tmp_path / "tokenizer" / name)
    found = load_text_encoder(saved)
    expected = tiny_text_encoder().tokenizer.ids(TEXTS)
    assert torch.equal(found.tokenizer.ids(TEXTS), expected)
    (tmp_path / "tokenizer").rename(tmp_path / "words")
    assert torch.equal(load_text_encoder(saved, tmp_path / "words").tokenizer.ids(TEXTS), expected)
    with pytest.raises(CheckpointError, match="text_encoder: no readable vocab.json and merges"):
        load_text_encoder(saved)


def test_its_own_vocabulary_goes_first(saved: Path, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "meissonic" / "tokenizer", tmp_path / "tokenizer")
    assert load_text_encoder(saved).tokenizer.length == 6


def test_parts_that_do_not_belong_together(saved: Path, golden: Path) -> None:
    public = golden / "meissonic"
    with pytest.raises(
        CheckpointError, match="text tokens, the text encoder in .* has 198"
    ) as error:
        load_text_encoder(public / "text_encoder", saved)
    assert "\n" not in str(error.value)


def test_a_text_is_never_longer_than_the_network(saved: Path) -> None:
    config = saved / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"model_max_length": 6', '"model_max_length": 77'))
    assert load_text_encoder(saved).tokenizer.length == 6


def test_a_missing_part_is_named(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "elsewhere")
    with pytest.raises(CheckpointError, match="text_encoder: no weights file"):
        load_text_encoder(saved)
    (saved / "elsewhere").rename(saved / "model.safetensors")
    (saved / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json lacks 'vocab_size'"):
        load_text_encoder(saved)

"""Whole models: our folders and the public layout, and what is said when a part is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from demask.checkpoint.hub import is_hub_id
from demask.checkpoint.pipeline import PUBLIC_PARTS, is_public, load_ours, load_public
from demask.checkpoint.read import CheckpointError
from demask.tokenizer.vq_model import VQModel
from demask.transformer.meissonic import Meissonic
from tiny import CLASS_NAMES, save_tiny, save_tiny_text

WEIGHTS = {
    "transformer": "diffusion_pytorch_model",
    "vqvae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@pytest.fixture
def public(golden: Path, tmp_path: Path) -> Path:
    """A copy of the golden pipeline."""
    shutil.copytree(golden / "meissonic", tmp_path / "public")
    return tmp_path / "public"


def halve(folder: Path, keep: bool) -> None:
    """Add the float16 variant of all weights, or put it in their place."""
    for part, stem in WEIGHTS.items():
        plain = folder / part / f"{stem}.safetensors"
        half = {name: tensor.half() for name, tensor in load_file(plain).items()}
        save_file(half, folder / part / f"{stem}.fp16.safetensors")
        if not keep:
            plain.unlink()


def types(*networks: torch.nn.Module) -> list[set[torch.dtype]]:
    return [{p.dtype for p in network.parameters()} for network in networks]


def test_the_public_layout(public: Path) -> None:
    parts = load_public(str(public), None, "cpu")
    assert isinstance(parts.transformer, Meissonic)
    assert isinstance(parts.tokenizer, VQModel)
    assert parts.text is not None
    assert parts.text.tokenizer.length == 77
    assert (parts.schedule, parts.class_names) == ("cosine", ())
    assert types(parts.transformer, parts.tokenizer, parts.text.model) == [{torch.float32}] * 3


@pytest.mark.parametrize("keep", [True, False])
def test_half_precision(public: Path, keep: bool) -> None:
    halve(public, keep)
    for options in ({"dtype": torch.float16}, {"dtype": torch.float16, "variant": "fp16"}):
        parts = load_public(str(public), device="cpu", **options)
        assert parts.text is not None
        assert types(parts.transformer, parts.tokenizer, parts.text.model) == [{torch.float16}] * 3
    with pytest.raises(CheckpointError, match="transformer: no weights of the variant 'ema'"):
        load_public(str(public), None, "cpu", "ema")


@pytest.mark.parametrize("part", PUBLIC_PARTS)
def test_a_missing_folder_is_named(public: Path, part: str) -> None:
    shutil.rmtree(public / part)
    with pytest.raises(CheckpointError, match=f"public lacks {part}; a model of prompts") as error:
        load_public(str(public), None, "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", WEIGHTS)
def test_missing_weights_are_named(public: Path, part: str) -> None:
    for file in (public / part).glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match=f"{part}: no weights file"):
        load_public(str(public), None, "cpu")


def test_a_mask_id_of_another_model(public: Path) -> None:
    settings = public / "scheduler" / "scheduler_config.json"
    settings.write_text(json.dumps({"mask_token_id": 8255, "masking_schedule": "cosine"}))
    with pytest.raises(
        CheckpointError,
        match=r"scheduler_config.json: mask_token_id 8255, the transformer's is 71$",
    ):
        load_public(str(public), None, "cpu")


def test_the_schedule_is_the_one_that_is_named_or_cosine(public: Path) -> None:
    settings = public / "scheduler" / "scheduler_config.json"
    settings.write_text('{"masking_schedule": "linear"}')
    assert load_public(str(public), None, "cpu").schedule == "linear"
    shutil.rmtree(public / "scheduler")
    assert load_public(str(public), None, "cpu").schedule == "cosine"


class Hub:
    """Stands in for the hub: remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def __call__(self, hub_id: str, **options: Any) -> str:
        assert hub_id == "owner/name"
        self.asked += options["allow_patterns"]
        return str(self.folder)


def test_from_the_hub_comes_what_is_read(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halve(public, keep=True)
    for dtype, pattern in (
        (torch.float16, "fp16.safetensors"),
        (None, "transformer/*.safetensors"),
    ):
        hub = Hub(public)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
        parts = load_public("owner/name", dtype, "cpu")
        assert isinstance(parts.transformer, Meissonic)
        assert any(asked.endswith(pattern) for asked in hub.asked)
        assert any("fp16" in asked for asked in hub.asked) == (dtype is not None)


def test_what_is_public(public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = save_tiny_text(tmp_path / "ours")
    assert is_public(str(public), public)
    assert not is_public(str(ours), ours)
    for folder in (public, ours):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(folder))
        assert is_public("owner/name", Path("owner/name")) == (folder == public)
    for name in ("runs/model.safetensors", "a/b/c", "name"):
        assert not is_public(name, Path(name))


@pytest.mark.parametrize(
    ("name", "may_be"),
    [
        ("owner/name", True),
        ("owner/name-1.0", True),
        ("runs/transformer.safetensors", False),
        ("weights/model.pt", False),
        ("owner/name/part", False),
        ("name", False),
    ],
)
def test_what_may_be_on_the_hub(name: str, may_be: bool) -> None:
    assert is_hub_id(name) == may_be


def test_our_own_folder_of_a_text_model(tmp_path: Path) -> None:
    folder = save_tiny_text(tmp_path)
    for source in (folder, folder / "transformer.safetensors"):
        parts = load_ours(str(source), source, None, torch.bfloat16, "cpu")
        assert parts.text is not None
        kinds = types(parts.transformer, parts.tokenizer, parts.text.model)
        assert kinds == [{torch.bfloat16}, {torch.float32}, {torch.bfloat16}]
        assert parts.schedule is None


def test_our_own_folder_of_a_class_model(tmp_path: Path) -> None:
    parts = load_ours(str(save_tiny(tmp_path)), tmp_path, None, None, "cpu")
    assert (parts.text, parts.class_names) == (None, CLASS_NAMES)


def test_a_missing_part_of_ours_is_named(tmp_path: Path) -> None:
    folder = save_tiny_text(tmp_path)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(CheckpointError, match="reads prompts and lacks a text encoder: no folder"):
        load_ours(str(folder), folder, None, None, "cpu")
    (folder / "tokenizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer beside it: a folder needs"):
        load_ours(str(folder), folder, None, None, "cpu")


def test_a_part_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path)
    transformer, tokenizer = (
        str(folder / f"{part}.safetensors") for part in ("transformer", "tokenizer")
    )
    for source, named, message in (
        (
            tokenizer,
            None,
            "tokenizer.safetensors holds a ConvTokenizer, which is not a transformer",
        ),
        (transformer, transformer, r"transformer.safetensors holds a .*, which is not a tokenizer"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_ours(source, Path(source), named, None, "cpu")


def test_another_tokenizer_for_a_whole_pipeline_is_refused(public: Path) -> None:
    with pytest.raises(CheckpointError, match="is a whole pipeline with a tokenizer of its own"):
        load_ours(str(public), public, str(public / "vqvae"), None, "cpu")

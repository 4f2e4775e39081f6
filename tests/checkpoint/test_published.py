"""Public files that name no class: recognised by their keys, with the parts that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import nn

import demask
from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.by_keys import KEY_LAYOUTS, KeyLayout
from demask.checkpoint.load import load_model
from demask.checkpoint.published import PUBLISHED_MODELS, PublishedModel
from demask.checkpoint.read import CheckpointError
from demask.checkpoint.save import save_model
from demask.preset_file import read_presets
from demask.presets import PUBLISHED_PRESETS
from tiny import tiny_tokenizer, tiny_transformer

CONFIG = tiny_transformer().config


def matches(tensors: Mapping[str, torch.Tensor]) -> bool:
    return "their.head.weight" in tensors


def read(tensors: dict[str, torch.Tensor], facts: Mapping[str, Any]) -> tuple[str, Any, Any]:
    return "modern_maskgit", CONFIG, {n.removeprefix("their."): t for n, t in tensors.items()}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public layout of the tiny model, and its row in the table of public models."""
    for table in (KEY_LAYOUTS, PUBLISHED_MODELS):
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    KEY_LAYOUTS.add("theirs", KeyLayout("a tiny model", matches, read))
    facts = {"task": "classes", "pixels": 16, "parameters": 1}
    config = {"width": CONFIG.width, "grid": (4, 4)}
    model = PublishedModel(
        "owner/name/a/model.pth", "modern_maskgit", config=config, tokenizer="owner/tokens", **facts
    )
    PUBLISHED_MODELS.add("tiny", model)


def tensors() -> dict[str, torch.Tensor]:
    return {f"their.{name}": tensor for name, tensor in tiny_transformer().state_dict().items()}


def same(network: nn.Module) -> bool:
    own = tiny_transformer().state_dict()
    return all(torch.equal(own[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {0: torch.ones(2)}}},
        lambda t: {"model": {"x": torch.ones(1)}, "ema": t, "state_dict": {"y": torch.ones(1)}},
        lambda t: {f"module._orig_mod.{name}": tensor for name, tensor in t.items()},
    ],
)
def test_recognised_by_its_keys(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    torch.save(wrap(tensors()), tmp_path / "model.pth")
    assert same(load_model(tmp_path / "model.pth"))


class Hub:
    """Stands in for the hub: a folder for each repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, hub_id: str, **options: Any) -> str:
        if not (self.folder / hub_id).is_dir():
            raise FileNotFoundError(f"no repository {hub_id}")
        return str(self.folder / hub_id)


def test_a_file_of_the_hub_and_its_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(tmp_path))
    (tmp_path / "owner/name/a").mkdir(parents=True)
    torch.save(tensors(), tmp_path / "owner/name/a/model.pth")
    with pytest.raises(CheckpointError, match="owner/tokens: not to be had from the hub"):
        demask.load("owner/name/a/model.pth")
    save_model(tmp_path / "owner/tokens/model.safetensors", tiny_tokenizer(), "conv_tokenizer")
    generator = demask.load("owner/name/a/model.pth")
    assert same(generator.transformer)
    with pytest.raises(CheckpointError, match=r"the repository has no file a/other\.pth"):
        demask.load("owner/name/a/other.pth")


def test_a_local_file_asks_for_its_tokenizer(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="that of owner/name/a/model.pth is owner/tokens"):
        demask.load(tmp_path / "model.pth")
    save_model(tmp_path / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    assert same(demask.load(tmp_path / "model.pth").transformer)


def test_the_authors_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(tensors(), tmp_path / "model.pth")
    save_model(tmp_path / "tokenizer.safetensors", tiny_tokenizer(), "conv_tokenizer")
    text = 'default = "published"\n[published.settings]\nsteps = 7\n'
    (tmp_path / "tiny.toml").write_text(text)
    monkeypatch.setattr("demask.assembly.PUBLISHED_PRESETS", tmp_path)
    row = PUBLISHED_MODELS["tiny"]
    monkeypatch.setitem(PUBLISHED_MODELS._rows, "tiny", replace(row, presets="tiny"))
    assert demask.load(tmp_path / "model.pth").settings.steps == 7
    assert demask.load(tmp_path / "model.pth", preset="published").settings.steps == 7
    with pytest.raises(ValueError, match="unknown preset 'other'"):
        demask.load(tmp_path / "model.pth", preset="other")


@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_every_row_names_what_is_there(name: str) -> None:
    row = PUBLISHED_MODELS[name]
    config = ARCHITECTURES[row.architecture].config
    assert set(row.config) <= {entry.name for entry in fields(config)}
    assert not row.presets or (PUBLISHED_PRESETS / f"{row.presets}.toml").is_file()


@pytest.mark.parametrize("path", sorted(PUBLISHED_PRESETS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_file_of_presets(path: Path) -> None:
    assert "published" in read_presets(path).by_name

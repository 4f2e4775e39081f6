"""Public files that name no class: recognised by their keys, with the parts that they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import nn

import demask
from demask.checkpoint.architectures import ARCHITECTURES, transformer
from demask.checkpoint.by_keys import KEY_LAYOUTS, KeyLayout
from demask.checkpoint.load import load_model
from demask.checkpoint.published import PUBLISHED_MODELS, PublishedModel, published_model
from demask.checkpoint.read import CheckpointError
from demask.checkpoint.save import save_model
from demask.checkpoint.unfilled import Unfilled
from demask.preset_file import read_presets
from demask.presets import PUBLISHED_PRESETS
from demask.transformer.halton_maskgit import HaltonMaskGITConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from tiny import tiny_tokenizer, tiny_transformer

CONFIG = tiny_transformer().config


def matches(tensors: Any) -> bool:
    return "their.head.weight" in tensors


def read(tensors: dict[str, torch.Tensor], facts: Any) -> tuple[str, Any, Any]:
    if facts.get("depth", 2) != 2:
        raise CheckpointError("depth: only 2 is known")
    return "theirs", CONFIG, {name.removeprefix("their."): t for name, t in tensors.items()}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public layout of the tiny model, and its row in the table of public models."""
    for table in (ARCHITECTURES, KEY_LAYOUTS, PUBLISHED_MODELS):
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    ARCHITECTURES.add("theirs", transformer(ModernMaskGIT, ModernMaskGITConfig))
    KEY_LAYOUTS.add("theirs", KeyLayout("the tiny model", matches, read))
    model = PublishedModel(
        "owner/name/a/model.pth",
        "theirs",
        {"width": CONFIG.width, "grid": (4, 4)},
        pixels=16,
        parameters=1,
        tokenizer="owner/tokens",
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


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module._orig_mod."])
def test_a_prefix_is_said(prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But not that of ImageBert, which belongs to the names of its layout."""
    torch.save({f"{prefix}{name}": t for name, t in tensors().items()}, tmp_path / "model.pth")
    assert same(load_model(tmp_path / "model.pth"))
    said = [f"the keys of all tensors begin with '{prefix}'; it is taken off"]
    assert caplog.messages == (said if prefix.startswith("module.") else [])


@pytest.mark.parametrize("model", ["llvictorll/Halton-MaskGIT", "Yuanzhi/DiMO"])
def test_a_repository_of_several_models_names_them(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("work"))
    with pytest.raises(ValueError, match=f"{model} holds several models; name one: {model}/"):
        demask.load(model)


def test_another_network_is_refused_by_its_keys(tmp_path: Path) -> None:
    torch.save({"head": torch.ones(2)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="nothing says what it holds"):
        load_model(tmp_path / "model.pth")


def test_the_yaml_beside_it(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "model.bin")
    (tmp_path / "model.yaml").write_text("depth: 3\n")
    with pytest.raises(CheckpointError, match=r"model\.bin: depth: only 2 is known"):
        load_model(tmp_path / "model.bin")
    for text, reason in (("[1, 2]", "should be a YAML mapping"), ("a: [1", "not valid YAML")):
        (tmp_path / "model.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=reason) as caught:
            load_model(tmp_path / "model.bin")
        assert "\n" not in str(caught.value)


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


ROWS = dict(PUBLISHED_MODELS)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_network_of_that_size(name: str) -> None:
    row = ROWS[name]
    architecture = ARCHITECTURES[row.architecture]
    sizes = dict(row.config)
    if row.architecture == "halton_maskgit":  # heads and MLP follow from the name of the size
        config = HaltonMaskGITConfig.published(name.split()[1], sizes["grid"])
    else:
        config = architecture.config(**sizes)
    with Unfilled():
        network = architecture.module(config)
    stored = sum(parameter.numel() for parameter in network.parameters())
    if row.architecture == "image_bert":
        stored += 2 * config.width  # the table of token types, which is added when it is read
    assert stored == row.parameters
    assert published_model(network, row.source) is row
    assert row.tokenizer or row.reads == "prompts"
    assert not row.presets or (PUBLISHED_PRESETS / f"{row.presets}.toml").is_file()


@pytest.mark.parametrize("path", sorted(PUBLISHED_PRESETS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_file_of_presets_belongs_to_a_row(path: Path) -> None:
    assert "published" in read_presets(path).by_name
    assert path.stem in {row.presets for row in ROWS.values()}

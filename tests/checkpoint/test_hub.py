from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import save_file

from demask.checkpoint.hub import locate_pipeline
from demask.checkpoint.load import load_model
from demask.checkpoint.read import CheckpointError
from demask.transformer.maskgit import MaskGIT

IDS = torch.tensor([[1, 10, 3, 10]]), torch.tensor([1])


class Hub:
    """Stands in for the hub: a folder from which it 'downloads'."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, hub_id: str, **options: Any) -> str:
        assert hub_id == "owner/name"
        self.asked.append(tuple(options["allow_patterns"]))
        return str(self.folder)


def test_a_hub_id(public: Path, model: MaskGIT, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(public)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert torch.equal(load_model("owner/name")(*IDS), model(*IDS))
    assert hub.asked == [("*.json", "*.txt", "*.safetensors"), ("*.json", "*.txt", "*.bin")]

    hub.asked.clear()
    save_file(model.state_dict(), public / "model.safetensors")
    load_model("owner/name")
    assert hub.asked == [("*.json", "*.txt", "*.safetensors")]

    hub.asked.clear()
    hub.folder = public.parent
    load_model("owner/name", subfolder="public")
    assert hub.asked == [("public/*.json", "public/*.txt", "public/*.safetensors")]


class PipelineHub:
    """Stands in for a hub repository: 'downloads' the files that the patterns let through."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.names = names

    def __call__(self, hub_id: str, **options: Any) -> str:
        assert (hub_id, options["revision"]) == ("owner/name", "main")
        patterns = {kind: options[kind] for kind in ("allow_patterns", "ignore_patterns")}
        for name in filter_repo_objects(self.names, **patterns):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        return str(self.folder)

    @property
    def had(self) -> set[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix() for path in files}


DESCRIBED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "transformer/config.json",
    "vqvae/config.json",
}
PLAIN = {
    "text_encoder/model.safetensors",
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
    "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
}
HALF = {
    "text_encoder/model.fp16.safetensors",
    "transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
}
ONLY_HALF, ONLY_PLAIN = "vqvae/diffusion_pytorch_model.fp16.safetensors", "vqvae/m.safetensors"
REST = {"README.md", "whole.safetensors", "transformer/diffusion_pytorch_model.bin", "a.png"}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, PLAIN | {ONLY_HALF}),
        ("fp16", HALF | {ONLY_HALF}),
        ("ema", PLAIN | {ONLY_HALF}),
    ],
)
def test_a_pipeline_comes_from_the_hub_with_one_variant_of_each_part(
    variant: str | None, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = PipelineHub(tmp_path, *DESCRIBED, *PLAIN, *HALF, ONLY_HALF, *REST)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert locate_pipeline("owner/name", "main", variant) == tmp_path
    assert hub.had == DESCRIBED | expected


def test_a_part_without_the_variant_comes_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = PipelineHub(tmp_path, *DESCRIBED, *PLAIN, *HALF, ONLY_PLAIN)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    locate_pipeline("owner/name", "main", "fp16")
    assert hub.had == DESCRIBED | HALF | {ONLY_PLAIN}


def test_of_what_is_no_pipeline_no_weights_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = PipelineHub(tmp_path, "config.json", "model.safetensors", *PLAIN)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    with pytest.raises(CheckpointError, match="^owner/name: no pipeline, .* model_index.json$"):
        locate_pipeline("owner/name", "main")
    assert hub.had == {"config.json"}


def test_a_pipeline_on_disk_is_itself(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", "absent"):
        with pytest.raises(CheckpointError, match="no pipeline"):
            locate_pipeline(path)
    (tmp_path / "model_index.json").write_text("{}")
    assert locate_pipeline(tmp_path) == locate_pipeline(str(tmp_path)) == tmp_path


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    for take in (load_model, locate_pipeline):
        with pytest.raises(CheckpointError) as error:
            take("owner/name")
        assert str(error.value) == "owner/name: not to be had from the hub (no route to host)"

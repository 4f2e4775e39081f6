"""The public repositories of Halton-MaskGIT, MaskGIT-pytorch, Di[M]O and EditMGT, on disk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

import demask
from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.load import CheckpointError
from demask.checkpoint.published import PUBLISHED_MODELS, published_model
from demask.transformer.halton_maskgit import HaltonMaskGIT
from demask.transformer.meissonic import Meissonic
from golden_models import with_sizes

HALTON = "llvictorll/Halton-MaskGIT"
LLAMAGEN = "FoundationVision/LlamaGen"


@pytest.fixture
def hub(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repositories of the golden Halton-MaskGIT and of its tokenizer."""
    with_sizes(golden / "halton", tmp_path / HALTON)
    (tmp_path / LLAMAGEN).mkdir(parents=True)
    shutil.copy(golden / "llamagen_vq" / "vq_ds16_c2i.pt", tmp_path / LLAMAGEN)

    def snapshot(hub_id: str, **options: Any) -> str:
        return str(tmp_path / hub_id)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    # the golden model has sizes of its own
    row = replace(
        PUBLISHED_MODELS["Halton-MaskGIT base"],
        source=f"{HALTON}/ImageNet_256_test.pth",
        config={"width": 24, "codebook_size": 64},
    )
    monkeypatch.setattr(PUBLISHED_MODELS, "_rows", {"Halton-MaskGIT base": row})
    return tmp_path


def test_a_file_of_the_hub_brings_its_tokenizer_and_the_authors_settings(hub: Path) -> None:
    generator = demask.load(f"{HALTON}/ImageNet_256_test.pth", device="cpu")
    assert isinstance(generator.transformer, HaltonMaskGIT)
    assert (generator.settings.order, generator.settings.schedule) == ("halton", "halton")
    assert generator.settings.guidance_scale == 1.7
    assert set(generator.presets.by_name) == {"published", "demo"}
    (image,) = generator.generate("3", seed=1, steps=4)
    assert image.image.size == (32, 32)
    (demo,) = generator.generate("3", seed=1, preset="demo")
    assert demo.settings.guidance_scale == 3


def test_a_file_on_disk_asks_for_its_tokenizer(hub: Path) -> None:
    file = hub / HALTON / "ImageNet_256_test.pth"
    with pytest.raises(CheckpointError, match=f"that of {HALTON}/.* is {LLAMAGEN}/vq_ds16_c2i.pt"):
        demask.load(file)
    tokenizer = str(hub / LLAMAGEN / "vq_ds16_c2i.pt")
    assert demask.load(file, tokenizer).settings.schedule == "halton"


DISTILLED = {"Di[M]O MaskGIT": "MaskGIT-pytorch 256", "Di[M]O Meissonic": "Meissonic"}


@pytest.mark.parametrize("name", DISTILLED)
def test_distilled_weights_are_known_by_their_source_alone(name: str) -> None:
    row = PUBLISHED_MODELS[name]
    architecture = ARCHITECTURES[row.architecture]
    with torch.device("meta"):
        network = architecture.module(architecture.config(**row.config))
    assert sum(p.numel() for p in network.parameters()) == row.parameters
    assert published_model(network, row.source) is row
    assert published_model(network) is PUBLISHED_MODELS[DISTILLED[name]]


def test_a_one_step_generator_takes_the_parts_of_its_teacher(golden: Path, tmp_path: Path) -> None:
    transformer = tmp_path / "meissonic" / "transformer"
    shutil.copytree(golden / "meissonic" / "transformer", transformer)
    generator = demask.load(transformer, str(golden / "meissonic"), device="cpu")
    assert isinstance(generator.transformer, Meissonic)
    how = {"start": "one_step", "steps": 1, "width": 32, "height": 32}
    (image,) = generator.generate("the red apple", seed=1, **how)  # type: ignore[arg-type]
    teacher = demask.load(golden / "meissonic", device="cpu")
    (same,) = teacher.generate("the red apple", seed=1, guidance_scale=1, **how)  # type: ignore[arg-type]
    assert image.image.tobytes() == same.image.tobytes()
    with pytest.raises(CheckpointError, match="reads prompts and lacks a text encoder"):
        demask.load(transformer, str(golden / "meissonic" / "vqvae"))


def test_editmgt_is_refused_by_name(tmp_path: Path) -> None:
    for part in ("editmgt", "llm_encoder", "transformer"):
        (tmp_path / part).mkdir()
    with pytest.raises(CheckpointError, match="is EditMGT, which is not supported: missing are"):
        demask.load(tmp_path)


def test_editmgt_with_the_index_of_a_pipeline_is_not_its_base(golden: Path, tmp_path: Path) -> None:
    """Its folder ``transformer`` is Meissonic, which would ignore the image to edit."""
    shutil.copytree(golden / "meissonic", tmp_path / "model")
    for part in ("editmgt", "llm_encoder"):
        (tmp_path / "model" / part).mkdir()
    with pytest.raises(CheckpointError, match="is EditMGT, which is not supported: missing are"):
        demask.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize("name", ["cls_emb.weight", "pos_emb.weight", "tok_emb.weight"])
def test_a_tensor_without_dimensions_is_one_line(name: str, golden: Path, tmp_path: Path) -> None:
    file = with_sizes(golden / "halton", tmp_path)
    content = torch.load(file, weights_only=True)
    content["model_state_dict"].pop("head.weight", None)
    content["model_state_dict"][name] = torch.tensor(1.0)
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="sizes that do not fit the transformer of Halton"):
        demask.load(file, str(golden / "llamagen_vq" / "vq_ds16_c2i.pt"), device="cpu")

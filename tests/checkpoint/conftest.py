from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from demask.checkpoint.save import save_model
from demask.transformer.maskgit import MaskGIT, MaskGITConfig

PUBLIC = {
    "_class_name": "MaskGitTransformer",
    "codebook_size": 8,
    "num_classes": 2,
    "num_vq_tokens": 4,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "vocab_size": 11,
    "mask_token_id": 10,
    "max_position_embeddings": 5,
}


@pytest.fixture(scope="session")
def model() -> MaskGIT:
    """A tiny transformer with random weights."""
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    config = MaskGITConfig(codebook_size=8, num_classes=2, grid=(2, 2), **sizes)
    return MaskGIT(config).eval().requires_grad_(False)


@pytest.fixture
def saved(model: MaskGIT, tmp_path: Path) -> Path:
    """The tiny transformer in our own layout."""
    save_model(tmp_path / "own.safetensors", model, "maskgit")
    return tmp_path / "own.safetensors"


@pytest.fixture
def public(model: MaskGIT, tmp_path: Path) -> Path:
    """The tiny transformer in the public layout: config.json and pytorch_model.bin."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLIC))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder

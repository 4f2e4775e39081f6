from __future__ import annotations

from pathlib import Path

import pytest
import torch

import demask
from demask.checkpoint.eight_bit import shrink_model, shrink_tensors
from demask.checkpoint.read import read_tensors
from demask.checkpoint.rows import SCALE, expand_rows
from demask.checkpoint.save import save_model
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from tiny import save_tiny_text


def test_rows_come_back_within_half_a_step() -> None:
    matrix = torch.randn(64, 8, 3, 3) * torch.logspace(-6, 3, 64)[:, None, None, None]
    small = shrink_tensors({"weight": matrix, "bias": torch.randn(64)})
    assert small["weight"].dtype == torch.int8
    assert small["bias"].dtype == torch.float32
    back = expand_rows(small, None)
    assert set(back) == {"weight", "bias"}
    error = (back["weight"] - matrix).abs().flatten(1).amax(1)
    assert (error <= 0.501 * matrix.abs().flatten(1).amax(1) / 127).all()


def test_a_row_of_zeros_stays() -> None:
    matrix = torch.zeros(64, 64)
    assert torch.equal(expand_rows(shrink_tensors({"w": matrix}), None)["w"], matrix)


def test_scales_without_their_matrix_are_left_for_the_network_to_refuse() -> None:
    lonely = {"w" + SCALE: torch.ones(3)}
    assert set(expand_rows(lonely, None)) == set(lonely)


def test_a_shrunken_model_is_half_the_size_and_says_nearly_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModernMaskGITConfig(codebook_size=64, num_classes=3, width=64, depth=2, heads=2)
    model = ModernMaskGIT(config).eval()
    torch.nn.init.normal_(model.head.weight)
    source = tmp_path / "model"
    save_model(source / "transformer.safetensors", model, "modern_maskgit", torch.float16)
    (written,) = shrink_model(source, tmp_path / "small")
    before = source / "transformer.safetensors"
    assert written.stat().st_size < 0.6 * before.stat().st_size
    full, description = read_tensors(before, dtype=torch.float32)
    small, again = read_tensors(written, dtype=torch.float32)
    assert description == again
    for name, tensor in full.items():
        assert (small[name] - tensor).norm() <= 0.02 * tensor.norm() + 1e-6, name


def test_a_model_of_prompts_keeps_its_text_encoder(tmp_path: Path) -> None:
    save_tiny_text(tmp_path / "model")
    shrink_model(tmp_path / "model", tmp_path / "small")
    assert demask.load(str(tmp_path / "small")).generate("red apple", steps=2)


def test_what_cannot_be_shrunk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no networks"):
        shrink_model(tmp_path, tmp_path / "small")
    save_tiny_text(tmp_path)
    with pytest.raises(ValueError, match="name another folder"):
        shrink_model(tmp_path, tmp_path)

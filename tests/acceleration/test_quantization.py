"""Low precision: what is rounded, what it learns from images, and the laws it must keep."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import demask
from demask.acceleration.quantization import (
    SCHEMES,
    own_rows,
    quantize,
    quantized_layers,
)
from demask.acceleration.quantization_calibration import calibrate
from demask.checkpoint.load import CheckpointError, load_model
from demask.checkpoint.lora import base_fingerprint
from demask.checkpoint.quantized import name_origin, save_quantized
from demask.checkpoint.save import save_tensors
from demask.conditioning import Classes
from demask.generator import Generator
from demask.transformer.maskgit import MaskGIT, MaskGITConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig
from demask.types import Condition, Step, TokenLayout
from tiny import (
    CLASS_NAMES,
    save_tiny,
    save_tiny_text,
    tiny_meissonic,
    tiny_tokenizer,
    tiny_transformer,
)


def tiny_maskgit() -> MaskGIT:
    torch.manual_seed(4)
    sizes = {"grid": (4, 4), "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
    return MaskGIT(MaskGITConfig(codebook_size=15, num_classes=3, **sizes)).eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "modern_maskgit": tiny_transformer,
    "maskgit": tiny_maskgit,
    "meissonic": tiny_meissonic,
}


def condition(count: int) -> Condition:
    random = torch.Generator().manual_seed(5)
    return Condition(
        {
            "class_ids": torch.arange(count) % 3,
            "states": torch.randn(count, 3, 16, generator=random),
            "pooled": torch.randn(count, 16, generator=random),
            "micro": torch.full((count, 5), 6.0),
        }
    )


def logits(network: nn.Module, count: int = 3) -> torch.Tensor:
    ids_BL = torch.randint(0, 15, (count, 16), generator=torch.Generator().manual_seed(6))
    ids_BL[:, ::2] = network.mask_id
    step = Step(2, 8, TokenLayout((4, 4)), torch.full((count,), 0.5))
    with torch.inference_mode():
        return network.predict(ids_BL, condition(count), step).logits_BLV


def low(name: str, scheme: str) -> nn.Module:
    network = NETWORKS[name]()

    def forwards():
        for _ in range(2):
            logits(network)
            yield

    if SCHEMES[scheme].calibrated:
        assert calibrate(network, SCHEMES[scheme], None, forwards)
    else:
        assert quantize(network, SCHEMES[scheme])
    name_origin(network, base_fingerprint(NETWORKS[name]()))
    return network


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_is_inside_the_blocks_is_rounded(name: str, scheme: str) -> None:
    full, network = NETWORKS[name](), low(name, scheme)
    lists = [n for n, child in full.named_children() if isinstance(child, nn.ModuleList)]
    inside = {
        n
        for n, m in full.named_modules()
        if isinstance(m, nn.Linear) and n.partition(".")[0] in lists
    }
    assert set(quantized_layers(network)) == inside
    before, after = logits(full), logits(network)
    assert not torch.equal(before, after)
    assert (before - after).norm() < (0.05 if scheme == "int8" else 0.35) * before.norm()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded_it_says_the_same_to_the_bit(
    name: str, scheme: str, tmp_path: Path
) -> None:
    network = low(name, scheme)
    save_quantized(tmp_path / "model.safetensors", network, name, scheme)
    loaded = load_model(tmp_path / "model.safetensors", dtype=torch.float32)
    assert torch.equal(logits(loaded), logits(network))
    before, after = quantized_layers(network), quantized_layers(loaded)
    assert {n: m.precision for n, m in before.items()} == {n: m.precision for n, m in after.items()}
    assert base_fingerprint(loaded) == base_fingerprint(NETWORKS[name]())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_image_is_the_same_alone_and_in_a_batch(scheme: str) -> None:
    network = low("modern_maskgit", scheme)
    model = Generator("low", tiny_tokenizer(), network, Classes("low", network, CLASS_NAMES))

    def ids(conditions: list[int], seeds: list[int]) -> torch.Tensor:
        *_, last = model.stream(conditions, seed=seeds, steps=6, guidance_scale=2.0)
        return last.ids_BL

    together = ids([0, 1, 2, 0, 1], [7, 8, 9, 10, 11])
    for i in range(5):
        assert torch.equal(ids([i % 3], [7 + i])[0], together[i])


def test_int8_activations_go_where_the_outputs_are_smallest() -> None:
    network = NETWORKS["modern_maskgit"]()
    with torch.no_grad():
        for index, block in enumerate(network.blocks):
            block.mlp.up.weight.mul_(1e-3 if index else 1e3)

    def forwards():
        logits(network)
        yield

    calibrate(network, SCHEMES["w4a8"], 0.25, forwards)
    chosen = {n for n, m in quantized_layers(network).items() if m.precision.activations}
    assert len(chosen) == round(0.25 * len(quantized_layers(network)))
    assert "blocks.1.mlp.up" in chosen
    assert "blocks.0.mlp.up" not in chosen


def test_four_bits_take_a_quarter_of_the_memory_of_half_precision(tmp_path: Path) -> None:
    sizes = {"width": 256, "depth": 2, "heads": 4, "mlp_width": 512}
    network = ModernMaskGIT(ModernMaskGITConfig(codebook_size=16, num_classes=3, **sizes))
    blocks = copy.deepcopy(network.blocks)
    quantize(network, SCHEMES["int4"])

    def size(module: nn.Module) -> int:
        return sum(t.numel() * t.element_size() for t in module.state_dict().values())

    assert size(network.blocks) < 0.28 * size(blocks.bfloat16())
    save_quantized(tmp_path / "low.safetensors", network, "modern_maskgit", "int4")
    assert (tmp_path / "low.safetensors").stat().st_size < size(network) + 10_000


def test_int8_at_load_time(tmp_path: Path) -> None:
    folder = str(save_tiny(tmp_path))
    fast = demask.load(folder, dtype=torch.int8)
    assert quantized_layers(fast.transformer)
    full = demask.load(folder)
    assert not quantized_layers(full.transformer)
    assert (logits(fast.transformer) - logits(full.transformer)).abs().max() < 0.3
    assert len(fast.generate(["cat"], steps=2)) == 1
    words = demask.load(str(save_tiny_text(tmp_path / "words")), dtype=torch.int8)
    assert len(words.generate("red apple", steps=2)) == 1


def test_rows_of_torchao_are_nearly_ours() -> None:
    pytest.importorskip("torchao")
    from demask.acceleration.quantization_torchao import torchao_rows

    layer = nn.Linear(64, 32)
    codes, scale = torchao_rows(layer)
    assert codes.dtype == torch.int8
    assert (codes * scale[:, None] - layer.weight).abs().max() <= 0.51 * scale.max()
    ours = own_rows(layer)
    assert (codes.int() - ours[0].int()).abs().max() <= 1
    assert torch.allclose(scale, ours[1], rtol=0.01)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "lacks the table 'layers'"),
        ({"layers": {"blocks.9": [8, 8, 0]}}, "'blocks.9'.*no linear layer"),
        ({"layers": {"blocks.0.mlp.up": [3, 8, 0]}}, "bits"),
        ({"layers": {"blocks.0.mlp.up": [8]}}, "of low precision"),
        ({"layers": {"blocks.0.mlp.up": [4, 8, 7]}}, "do not divide"),
    ],
)
def test_a_broken_description_is_one_line(facts: object, message: str, tmp_path: Path) -> None:
    network = tiny_transformer()
    path = tmp_path / "model.safetensors"
    config = dict(vars(network.config))
    about = {"architecture": "modern_maskgit", "config": config, "quantization": facts}
    save_tensors(path, network.state_dict(), about)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)

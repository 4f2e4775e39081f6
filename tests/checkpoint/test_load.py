from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from demask.checkpoint.load import load_model, read_metadata
from demask.checkpoint.read import CheckpointError
from demask.checkpoint.save import save_model, save_tensors
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskgit import MaskGIT
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

IDS = torch.tensor([[1, 10, 3, 10]]), torch.tensor([1])
VQGAN_CONFIG = VQGANConfig(channels=32, multipliers=(1,), blocks=1, codebook_size=4, latent_width=2)


def rewritten(saved: Path, change: dict[str, Any] | None = None, **metadata: Any) -> Path:
    """The saved model with some tensors replaced (None = left out) or other metadata."""
    tensors = load_model(saved).state_dict() | (change or {})
    description = read_metadata(saved) | metadata
    path = saved.with_name("rewritten.safetensors")
    save_tensors(path, {n: t for n, t in tensors.items() if t is not None}, description)
    return path


def test_saved_and_loaded_gives_the_same_logits(model: MaskGIT, saved: Path) -> None:
    loaded = load_model(saved)
    assert isinstance(loaded, MaskGIT)
    assert not loaded.training
    assert loaded.config == model.config
    assert torch.equal(loaded(*IDS), model(*IDS))


def test_the_public_layout_gives_the_same_logits(model: MaskGIT, public: Path) -> None:
    assert torch.equal(load_model(public)(*IDS), model(*IDS))
    assert torch.equal(load_model(public.parent, subfolder="public")(*IDS), model(*IDS))


@pytest.mark.parametrize(
    ("made", "architecture"),
    [
        (VQGAN(VQGAN_CONFIG), "vqgan"),
        (ConvTokenizer(ConvTokenizerConfig((3, 4), (16,), (1,), (1,), 16)), "conv_tokenizer"),
        (ModernMaskGIT(ModernMaskGITConfig(8, 2, (2, 2), 16, 1, 2, 16)), "modern_maskgit"),
    ],
)
def test_every_architecture_comes_back(
    made: torch.nn.Module, architecture: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, made, architecture, class_names=["cat"])
    loaded = load_model(path)
    assert type(loaded) is type(made)
    assert loaded.config == made.config
    assert read_metadata(path)["class_names"] == ["cat"]
    ours, theirs = made.state_dict(), loaded.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert dict(loaded.named_buffers()).keys() == dict(made.named_buffers()).keys()
    for name, buffer in loaded.named_buffers():
        assert torch.equal(buffer, made.get_buffer(name))


def test_dtype(model: MaskGIT, saved: Path, public: Path) -> None:
    for path in (saved, public):
        assert load_model(path).embed.word_embeddings.weight.dtype == torch.float32
        half = load_model(path, dtype=torch.bfloat16)
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        assert torch.equal(
            half.embed.word_embeddings.weight, model.embed.word_embeddings.weight.bfloat16()
        )


def test_a_loaded_model_can_be_trained(saved: Path) -> None:
    loaded = load_model(saved)
    assert all(p.requires_grad for p in loaded.parameters())
    loaded(*IDS).sum().backward()


def test_every_key_that_does_not_fit_is_named(saved: Path) -> None:
    path = rewritten(
        saved,
        {
            "embed.embeddings_ln.bias": None,
            "mlm_layer.mlm_ln.bias": None,
            "extra.one": torch.zeros(1),
            "extra.two": torch.zeros(1),
            "mlm_layer.mlm_dense.bias": torch.zeros(9),
            "mlm_layer.mlm_dense.weight": torch.zeros(8, 9),
        },
    )
    with pytest.raises(CheckpointError, match="rewritten") as error:
        load_model(path)
    text = str(error.value)
    assert "\n" not in text
    assert "missing: embed.embeddings_ln.bias, mlm_layer.mlm_ln.bias; " in text
    assert "unexpected: extra.one, extra.two; " in text
    assert "mlm_layer.mlm_dense.weight (8, 9) for (8, 8)" in text
    assert "mlm_layer.mlm_dense.bias (9,) for (8,)" in text


def test_feature_selection_is_split_off_but_nothing_else_is(public: Path, model: MaskGIT) -> None:
    weights = public / "pytorch_model.bin"
    state = model.state_dict() | {"decoders.0.linear.weight": torch.zeros(8, 8)}
    torch.save(state, weights)
    assert torch.equal(load_model(public)(*IDS), model(*IDS))
    torch.save(state | {"decoder.0": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match=r"unexpected: decoder\.0$"):
        load_model(public)


def test_our_own_files_hold_no_stray_keys(saved: Path) -> None:
    path = rewritten(saved, {"decoders.0.linear.weight": torch.zeros(8, 8)})
    with pytest.raises(CheckpointError, match="unexpected: decoders"):
        load_model(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"architecture": "masgit"}, r"unknown architecture 'masgit'.*maskgit"),
        ({"architecture": 3}, "unknown architecture 3; valid: maskgit"),
        ({"config": None}, "lacks a 'config'"),
        ({"config": {"widht": 8}}, "unknown MaskGITConfig entry 'widht'; did you mean 'width'"),
        ({"config": {"width": 9, "heads": 2}}, "width 9 must be a multiple of heads 2"),
        ({"config": {"width": "8"}}, "MaskGITConfig"),
        ({"config": {"width": -16}}, "its configuration has width = -16"),
        ({"config": {"heads": 0}}, "heads must be at least 1"),
        ({"config": {"depth": 10_000_000}}, "its configuration has depth = 10000000, the file"),
        ({"config": {"width": 1 << 40}}, "do not belong together"),
    ],
)
def test_bad_metadata_is_refused(saved: Path, metadata: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        load_model(rewritten(saved, **metadata))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "MaskGitVQGAM"}, "_class_name.*did you mean 'MaskGitVQGAN'"),
        ({"_class_name": None}, "nothing says what it holds"),
        ({"hidden_size": None}, "config.json lacks 'hidden_size'"),
        ({"num_vq_tokens": 5}, "num_vq_tokens 5 is not a square number"),
        ({"num_vq_tokens": "x"}, "public: "),
        ({"use_normformer": True}, "use_normformer=True; only False is known"),
        ({"vocab_size": 12}, "vocab_size=12; only 11 is known"),
        ({"mask_token_id": 9}, "mask_token_id=9; only 10 is known"),
    ],
)
def test_a_bad_public_config_is_refused(public: Path, change: dict, message: str) -> None:
    path = public / "config.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(CheckpointError, match=message):
        load_model(public)


def test_a_named_architecture(saved: Path, public: Path, model: MaskGIT) -> None:
    config = json.loads((public / "config.json").read_text())
    del config["_class_name"]
    (public / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_model(public, architecture="maskgit")(*IDS), model(*IDS))
    with pytest.raises(CheckpointError, match="holds architecture 'maskgit', not 'vqgan'"):
        load_model(saved, architecture="vqgan")
    with pytest.raises(ValueError, match="unknown architecture 'vqgam'; did you mean 'vqgan'"):
        load_model(public, architecture="vqgam")
    with pytest.raises(CheckpointError, match="metadata of architecture 'conv_tokenizer' is"):
        load_model(public, architecture="conv_tokenizer")


@pytest.mark.parametrize("name", ["nothing", "owner/name/more", "no/file.safetensors", "a b/c"])
def test_neither_a_path_nor_a_hub_id(name: str) -> None:
    with pytest.raises(CheckpointError, match="no such file or directory, and not a hub id"):
        load_model(name)


def test_a_variant_can_be_asked_for(model: MaskGIT, public: Path) -> None:
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_file(model.state_dict(), public / "model.safetensors")
    save_file(half, public / "model.fp16.safetensors")
    assert load_model(public).embed.word_embeddings.weight.dtype == torch.float32
    loaded = load_model(public, variant="fp16")
    assert {p.dtype for p in loaded.parameters()} == {torch.float16}
    loaded = load_model(public, variant="fp16", dtype=torch.float32)
    assert all(torch.equal(p, half[name].float()) for name, p in loaded.named_parameters())
    with pytest.raises(CheckpointError, match="public: no weights of the variant 'ema'"):
        load_model(public, variant="ema")

"""TiTok's and MaskGen's files: what is recognised, read, and refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import demask
from demask.checkpoint.load import CheckpointError, load_model
from demask.tokenizer.titok import TATiTok, TATiTokConfig, TiTok, TiTokConfig
from demask.transformer.clip_text import ClipText
from demask.transformer.image_bert import ImageBert, ImageBertConfig
from demask.transformer.maskgen import MaskGen, MaskGenConfig
from demask.transformer.uvit import UViT, UViTConfig

Facts = dict[str, Any]
SINGLE = {
    "unit_codes": False,
    "reinterpreted": False,
    "proxy_codes": 0,
    "pixel_widths": (),
    "codebook_size": 8192,
    "code_width": 64,
}
BASE, SMALL = {"width": 768, "depth": 12, "heads": 12}, {"width": 512, "depth": 8, "heads": 8}


def decoder(sizes: dict[str, int]) -> dict[str, int]:
    return {f"decoder_{name}": value for name, value in sizes.items()}


PUBLISHED: dict[str, tuple[Callable[[Any], nn.Module], Any, int]] = {
    "L-32": (TiTok, TiTokConfig(), 641_054_735),
    "B-64": (TiTok, TiTokConfig(tokens=64, **BASE, **decoder(BASE)), 204_814_095),
    "S-128": (TiTok, TiTokConfig(tokens=128, **SMALL, **decoder(SMALL)), 83_674_639),
    "BL-64": (TiTok, TiTokConfig(tokens=64, **SINGLE, **BASE), 390_016_148),
    "BL-128": (TiTok, TiTokConfig(tokens=128, **SINGLE, **BASE), 390_179_988),
    "SL-256": (TiTok, TiTokConfig(tokens=256, **SINGLE, **SMALL), 330_260_884),
    "TA BL-32": (TATiTok, TATiTokConfig(tokens=32, **SINGLE, **BASE), 390_800_532),
    "TA BL-64": (TATiTok, TATiTokConfig(tokens=64, **SINGLE, **BASE), 390_882_452),
    "TA BL-128": (TATiTok, TATiTokConfig(tokens=128, **SINGLE, **BASE), 391_046_292),
    # the authors' BERT has two token types, of which the second is never used: + 2 x 768
    "ImageBert L-32": (ImageBert, ImageBertConfig(), 177_202_432 - 2 * 768),
    "ImageBert B-64": (ImageBert, ImageBertConfig(grid=(1, 64)), 177_227_008 - 2 * 768),
    "UViT S-128": (UViT, UViTConfig(), 294_990_848),
    "MaskGen L": (MaskGen, MaskGenConfig(), 604_311_552),
    "MaskGen XL": (MaskGen, MaskGenConfig(width=1280, depth=20), 1_176_611_840),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes(name: str) -> None:
    module, config, parameters = PUBLISHED[name]
    with torch.device("meta"):
        network = module(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def changed(source: Path, folder: Path, change: Callable[[Facts, dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint with another configuration or other tensors, as a .bin file."""
    facts = json.loads((source / "config.json").read_text())
    tensors = load_file(source / "model.safetensors")
    change(facts, tensors)
    (folder / "model.yaml").write_text(yaml.safe_dump(facts))
    torch.save(tensors, folder / "model.bin")
    return folder / "model.bin"


def test_a_bin_file_and_its_yaml_with_leftovers_of_training(golden: Path, tmp_path: Path) -> None:
    def old(facts: Facts, tensors: dict[str, Any]) -> None:
        tensors["model.embeddings.position_ids"] = torch.arange(17)[None]

    for name, change in (("titok_imagebert", old), ("titok_two_stage", with_statistics)):
        (folder := tmp_path / name).mkdir()
        ours = load_model(changed(golden / name, folder, change)).state_dict()
        theirs = load_model(golden / name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def with_statistics(facts: Facts, tensors: dict[str, Any]) -> None:
    tensors["quantize.embed_prob"] = torch.ones(64)


def test_defaults_of_an_old_configuration(golden: Path, tmp_path: Path) -> None:
    """Without them the latents are reinterpreted; a value may refer to another one."""

    def referred(facts: Facts, tensors: dict[str, Any]) -> None:
        facts["model"]["vq_model"]["is_legacy"] = True
        facts["heads"] = 4
        facts["model"]["vq_model"]["use_l2_norm"] = "${model.vq_model.is_legacy}"

    found = load_model(golden / "titok_two_stage")
    again = load_model(changed(golden / "titok_two_stage", tmp_path, referred))
    assert isinstance(found, TiTok)
    assert isinstance(again, TiTok)
    assert found.config == again.config
    assert found.config.reinterpreted


def vae(facts: Facts, tensors: dict[str, Any]) -> None:
    facts["model"]["vq_model"]["quantize_mode"] = "vae"


def first_stage(facts: Facts, tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("pixel_")]:
        del tensors[name]


def nameless(facts: Facts, tensors: dict[str, Any]) -> None:
    del facts["model"]["vq_model"]["vit_dec_model_size"]


def huge(facts: Facts, tensors: dict[str, Any]) -> None:
    facts["model"]["vq_model"]["vit_enc_model_size"] = "huge"


def torn(facts: Facts, tensors: dict[str, Any]) -> None:
    del tensors["decoder.mask_token"]


def headless(facts: Facts, tensors: dict[str, Any]) -> None:
    del facts["model"]["generator"]["num_attention_heads"]


def told(place: str, value: Any) -> Callable[[Facts, dict[str, Any]], None]:
    """Another value in the configuration, such as ``model.generator.num_attention_heads``."""

    def change(facts: Facts, tensors: dict[str, Any]) -> None:
        *outer, last = place.split(".")
        for name in outer:
            facts = facts[name]
        facts[last] = value

    return change


def flat(name: str) -> Callable[[Facts, dict[str, Any]], None]:
    """A tensor of one dimension."""

    def change(facts: Facts, tensors: dict[str, Any]) -> None:
        assert name in tensors
        tensors[name] = torch.zeros(3)

    return change


VQ, GENERATOR, MASKGEN = (f"model.{part}." for part in ("vq_model", "generator", "maskgen"))
HEADS, PATCH = GENERATOR + "num_attention_heads", VQ + "vit_dec_patch_size"


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        *(
            (case, told(HEADS, value), f"{HEADS} should be a whole number of at least 1, not")
            for case in ("titok_imagebert", "titok_uvit")
            for value in (0, 2.5, "4", None, [4], True)
        ),
        ("titok_two_stage", told(PATCH, "8"), f"{PATCH} should be a whole number.* not '8'"),
        ("titok_two_stage", told(PATCH, f"${{{PATCH}}}"), f"{PATCH} refers to itself"),
        ("titok_two_stage", told(PATCH, 7), "sizes that do not fit titok .*7 pixels"),
        ("titok_two_stage", told(VQ + "vit_enc_model_size", ["base"]), "Valid: small, base, large"),
        ("titok_two_stage", told(VQ + "use_l2_norm", "no"), "should be true or false, not 'no'"),
        ("titok_two_stage", flat("latent_tokens"), "mis-shaped: latent_tokens.* not 2 dim"),
        ("titok_two_stage", flat("decoder.mask_token"), "mis-shaped: decoder.mask_token"),
        ("titok_uvit", flat("pos_embed"), r"mis-shaped: pos_embed \(3,\), not 3 dimensions"),
        ("titok_imagebert", flat("model.lm_head.weight"), "mis-shaped: lm_head.weight"),
        ("maskgen/generator", flat("pos_embed"), "mis-shaped: pos_embed"),
        ("maskgen/generator", told(VQ + "codebook_size", "80"), "codebook_size should be a whole"),
        ("maskgen/generator", told(VQ + "codebook_size", 999), "do not fit maskgen .*a mask id"),
        (
            "maskgen/generator",
            told(MASKGEN + "sample_aesthetic_score", "high"),
            "sample_aesthetic_score should be a number, not 'high'",
        ),
        ("titok_single_stage", vae, "quantize_mode 'vae'.* valid: vq"),
        ("maskgen/generator", vae, "quantize_mode 'vae'.* valid: vq"),
        ("titok_two_stage", first_stage, "after its first stage of training"),
        ("titok_two_stage", nameless, "lacks model.vq_model.vit_dec_model_size: it needs"),
        ("titok_two_stage", huge, "unknown vit_enc_model_size 'huge'.* Valid: small, base, large"),
        ("titok_two_stage", torn, "missing: decoder.mask_token"),
        ("titok_imagebert", headless, "lacks model.generator.num_attention_heads"),
        ("titok_uvit", headless, "lacks model.generator.num_attention_heads"),
    ],
)
def test_what_is_refused(
    golden: Path, tmp_path: Path, case: str, change: Callable[..., None], message: str
) -> None:
    path = changed(golden / case, tmp_path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_text_encoder_of_another_model_is_refused(golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(golden / "maskgen" / "generator", folder)
    shutil.copytree(golden / "meissonic" / "text_encoder", folder / "text_encoder")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(golden / "meissonic" / "tokenizer" / name, folder / "text_encoder")
    with pytest.raises(CheckpointError, match=r"reads texts of text_width 24, the text encoder"):
        demask.load(folder, str(golden / "maskgen" / "tokenizer"), device="cpu")


def test_the_text_half_of_a_whole_clip(golden: Path, tmp_path: Path) -> None:
    """OpenAI's repository holds both halves of CLIP, with a nested configuration."""
    source = golden / "maskgen" / "text"
    tensors = load_file(source / "model.safetensors")
    flat = json.loads((source / "config.json").read_text())
    facts = {"architectures": ["CLIPModel"], "projection_dim": 24, "text_config": flat}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    tensors |= {"logit_scale": torch.ones(()), "vision_model.x": torch.ones(2)}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    whole = load_model(tmp_path, architecture="clip_text")
    alone = load_model(source, architecture="clip_text")
    assert isinstance(whole, ClipText)
    assert isinstance(alone, ClipText)
    assert whole.config == alone.config
    assert all(
        torch.equal(x, y) for x, y in zip(whole.parameters(), alone.parameters(), strict=True)
    )


COMPILER = """
import sys
from demask.checkpoint.load import load_model

for path in sys.argv[1:]:
    load_model(path)
print("sympy" in sys.modules)
"""


def test_loading_imports_no_compiler(golden: Path) -> None:
    """Arithmetic on parameters that take no memory yet would: 70 MB beside the weights."""
    cases = ["titok_uvit", "titok_imagebert", "titok_two_stage"]
    paths = [*cases, "titok_single_stage", "maskgen/generator", "maskgen/tokenizer"]
    command = [sys.executable, "-c", COMPILER, *(str(golden / path) for path in paths)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["False"]

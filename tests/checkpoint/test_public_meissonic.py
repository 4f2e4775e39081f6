"""The public configurations of the transformer and the text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.identify import identify
from demask.checkpoint.public_meissonic import clip_text_from_public, meissonic_from_public
from demask.checkpoint.read import CheckpointError
from demask.transformer.meissonic import MeissonicConfig

PUBLISHED = {
    "_class_name": "Transformer2DModel",
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "codebook_size": 8192,
    "downsample": True,
    "guidance_embeds": False,
    "in_channels": 64,
    "joint_attention_dim": 1024,
    "num_attention_heads": 8,
    "num_layers": 14,
    "num_single_layers": 28,
    "patch_size": 1,
    "pooled_projection_dim": 1024,
    "upsample": True,
    "vocab_size": 8256,
}


def test_the_published_model_is_our_default() -> None:
    assert identify(PUBLISHED) == ("meissonic", MeissonicConfig())


def test_its_small_sister_has_no_feature_compression() -> None:
    plain = {k: v for k, v in PUBLISHED.items() if k not in ("downsample", "upsample")}
    for public in (plain, {**PUBLISHED, "downsample": False, "upsample": False}):
        config = meissonic_from_public(public)
        assert (config.compress, config.grid) == (False, (32, 32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsample": False}, "downsample without upsample"),
        ({"downsample": False}, "downsample without upsample, or the reverse"),
        ({"patch_size": 2}, "patch_size=2; only 1 is known"),
        ({"guidance_embeds": True}, "guidance_embeds=True; only False is known"),
        ({"axes_dims_rope": [16, 56]}, "axes"),
        (
            {"connector_type": "mlp", "joint_attention_dim": 2304},
            "connector_type='mlp' is of EditMGT, which is not supported: missing are the connector",
        ),
        ({"vocab_size": 8192}, "the vocabulary needs a mask id"),
        ({"num_layers": None}, "config.json lacks 'num_layers'"),
    ],
)
def test_another_network_is_refused(change: dict, message: str) -> None:
    changed = {k: v for k, v in {**PUBLISHED, **change}.items() if v is not None}
    with pytest.raises(CheckpointError, match=message) as error:
        identify(changed)
    assert "\n" not in str(error.value)


def test_the_text_encoder(golden: Path) -> None:
    public = json.loads((golden / "meissonic" / "text_encoder" / "config.json").read_text())
    name, config = identify(public, "clip_text")
    assert ARCHITECTURES[name].part == "text_encoder"
    assert (config.width, config.end_id, config.activation) == (32, 197, "gelu")


def test_what_a_text_configuration_leaves_out_is_usual() -> None:
    config = clip_text_from_public({"vocab_size": 49408, "hidden_size": 512})
    assert (config.layers, config.heads, config.mlp_width, config.length) == (12, 8, 2048, 77)
    assert config.activation == "quick_gelu"
    assert config.end_id == 49407, "the last entry, where none or the mistaken 2 is named"
    old = clip_text_from_public({"vocab_size": 10, "hidden_size": 8, "eos_token_id": 2})
    assert old.end_id == 9
    named = clip_text_from_public({"vocab_size": 10, "hidden_size": 8, "eos_token_id": 7})
    assert named.end_id == 7


def test_a_text_configuration_without_sizes() -> None:
    with pytest.raises(CheckpointError, match="config.json lacks 'hidden_size'"):
        clip_text_from_public({"vocab_size": 10})
    with pytest.raises(CheckpointError, match="unknown activation 'glu'"):
        identify({"vocab_size": 10, "hidden_size": 8, "hidden_act": "glu"}, "clip_text")

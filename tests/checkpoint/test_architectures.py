from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from demask.checkpoint.load import load_model
from demask.checkpoint.read import CheckpointError


def vq_model_folder(golden: Path, tmp_path: Path, **change: Any) -> Path:
    """The public tokenizer with another configuration."""
    shutil.copytree(golden / "meissonic" / "vqvae", tmp_path / "vqvae")
    path = tmp_path / "vqvae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return tmp_path / "vqvae"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mid_block_add_attention": True}, "mid_block_add_attention=True; only False is known"),
        ({"norm_type": "spatial"}, "norm_type='spatial'; only 'group' is known"),
        ({"act_fn": "mish"}, "act_fn='mish'; only 'silu' is known"),
        ({"lookup_from_codebook": False}, "lookup_from_codebook=False; only True is known"),
        ({"out_channels": 4}, "out_channels=4; only 3 is known"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "down_block_types="),
        ({"block_out_channels": 3}, "vqvae: "),
        ({"norm_num_groups": 7}, "must be multiples of groups 7"),
        ({"layers_per_block": 2}, "missing: decoder.up_blocks.0.resnets.2"),
    ],
)
def test_a_public_tokenizer_that_is_another_is_refused(
    golden: Path, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        load_model(vq_model_folder(golden, tmp_path, **change))
    assert "\n" not in str(error.value)


def test_a_public_tokenizer_may_leave_out_what_is_usual(golden: Path, tmp_path: Path) -> None:
    folder = vq_model_folder(golden, tmp_path, vq_embed_dim=None)
    config = json.loads((folder / "config.json").read_text())
    for name in ("in_channels", "out_channels", "up_block_types", "act_fn", "force_upcast"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
    assert loaded.config.code_width == loaded.config.latent_width
    assert not loaded.config.force_upcast

"""Convert the public configuration of aMUSEd's transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demask.checkpoint.read import CheckpointError
from demask.transformer.amused import AmusedConfig
from demask.transformer.meissonic import MICRO

NAMES = {
    "codebook_size": "codebook_size",
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "embed_width": "in_channels",
    "channels": "block_out_channels",
    "channel_heads": "block_num_heads",
    "res_blocks": "num_res_blocks",
    "text_width": "encoder_hidden_size",
    "pooled_width": "cond_embed_dim",
    "micro_width": "micro_cond_encode_dim",
}
ONLY = {"use_bias": False, "ln_elementwise_affine": True, "layer_norm_eps": 1e-6}


def amused_from_public(public: Mapping[str, Any]) -> AmusedConfig:
    """The ``config.json`` of a ``UVit2DModel``.

    Raises:
        CheckpointError: a size is missing, or the network is of a kind that was never released.
    """
    for name, value in ONLY.items():
        if public.get(name, value) != value:
            raise CheckpointError(f"config.json: {name}={public[name]!r}; only {value!r} is known")
    if missing := [theirs for theirs in (*NAMES.values(), "sample_size") if theirs not in public]:
        raise CheckpointError(f"config.json lacks '{missing[0]}'")
    compress = public.get("downsample", False)
    if public.get("upsample", compress) != compress:
        raise CheckpointError("config.json: downsample without upsample, or the reverse")
    micro_width = MICRO * public["micro_cond_encode_dim"]
    if public.get("micro_cond_embed_dim", micro_width) != micro_width:
        raise CheckpointError(
            f"config.json: micro_cond_embed_dim {public['micro_cond_embed_dim']}, but {MICRO} "
            f"micro-conditions of {public['micro_cond_encode_dim']} channels have {micro_width}"
        )
    return AmusedConfig(
        **{ours: public[theirs] for ours, theirs in NAMES.items()},
        compress=compress,
        grid=(public["sample_size"], public["sample_size"]),
    )

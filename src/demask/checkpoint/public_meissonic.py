"""Convert the public configurations of Meissonic's transformer and text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demask.checkpoint.read import CheckpointError
from demask.transformer.clip_text import ClipTextConfig
from demask.transformer.meissonic import MeissonicConfig

EDITING = ("connector_type", "text_encoder_architecture")
"""Entries of EditMGT's transformer (arXiv 2512.11715), which Meissonic's lacks."""
CLIP_VOCABULARY = 49408
LEGACY_END = 2
"""A wrong end-of-text id in old configurations; the last entry of the vocabulary is meant."""


def meissonic_from_public(public: Mapping[str, Any]) -> MeissonicConfig:
    """The ``config.json`` of the authors' ``Transformer2DModel``.

    ``in_channels`` is unused. The trained size is not in the file: models with feature compression
    were trained at 1024 pixels.
    """
    if extra := [name for name in EDITING if name in public]:
        raise CheckpointError(
            f"config.json: {extra[0]}={public[extra[0]]!r} is of EditMGT, which is not supported: "
            "missing are the connector of Gemma 2's text states and the tokens of the edited image"
        )
    compress = public.get("downsample", False)
    if public.get("upsample", compress) != compress:
        raise CheckpointError("config.json: downsample without upsample, or the reverse")
    for name, value in (("patch_size", 1), ("guidance_embeds", False)):
        if public.get(name, value) != value:
            raise CheckpointError(f"config.json: {name}={public[name]!r}; only {value!r} is known")
    names = {
        "codebook_size": "codebook_size",
        "vocabulary": "vocab_size",
        "heads": "num_attention_heads",
        "head_width": "attention_head_dim",
        "blocks": "num_layers",
        "single_blocks": "num_single_layers",
        "text_width": "joint_attention_dim",
        "pooled_width": "pooled_projection_dim",
    }
    if missing := [theirs for theirs in names.values() if theirs not in public]:
        raise CheckpointError(f"config.json lacks '{missing[0]}'")
    return MeissonicConfig(
        **{ours: public[theirs] for ours, theirs in names.items()},
        axes=tuple(public.get("axes_dims_rope", (16, 56, 56))),
        compress=compress,
        grid=(64, 64) if compress else (32, 32),
    )


def clip_text_from_public(public: Mapping[str, Any]) -> ClipTextConfig:
    """The ``config.json`` of transformers' ``CLIPTextModelWithProjection``, or ``CLIPModel``."""
    if isinstance(inside := public.get("text_config"), Mapping):
        whole = {"projection_dim": public.get("projection_dim", inside.get("projection_dim", 512))}
        public = {"vocab_size": CLIP_VOCABULARY, **inside, **whole}
    if missing := [name for name in ("vocab_size", "hidden_size") if name not in public]:
        raise CheckpointError(f"config.json lacks '{missing[0]}'")
    end_id = public.get("eos_token_id", LEGACY_END)
    return ClipTextConfig(
        vocabulary=public["vocab_size"],
        end_id=public["vocab_size"] - 1 if end_id == LEGACY_END else end_id,
        length=public.get("max_position_embeddings", 77),
        width=public["hidden_size"],
        mlp_width=public.get("intermediate_size", 2048),
        layers=public.get("num_hidden_layers", 12),
        heads=public.get("num_attention_heads", 8),
        pooled_width=public.get("projection_dim", 512),
        activation=public.get("hidden_act", "quick_gelu"),
        norm_eps=public.get("layer_norm_eps", 1e-5),
    )

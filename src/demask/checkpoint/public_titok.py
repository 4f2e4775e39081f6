"""TiTok and MaskGen under their authors' names (arXiv 2406.07550 and 2501.07730).

Sizes are read off the arrays; the configuration beside them has the rest, as nested JSON or yaml.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from demask.checkpoint.facts import fact, typed
from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.read import CheckpointError, Tensors
from demask.registry import unknown
from demask.tokenizer.titok import TATiTokConfig, TiTokConfig
from demask.transformer.image_bert import ImageBertConfig
from demask.transformer.maskgen import MaskGenConfig
from demask.transformer.uvit import UViTConfig
from demask.types import USUAL_SCORE

HEADS = {"small": 8, "base": 12, "large": 16}
"""Attention heads of a tokenizer's encoder or decoder, by the name of its size."""
LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attn_layer_norm": "attention.output.LayerNorm",
    "ffn.intermediate_output": "intermediate.dense",
    "ffn.layer_output": "output.dense",
    "ffn.layer_norm": "output.LayerNorm",
}
"""The layers of a block of ImageBert: our names, and those of BERT."""

WORDS, PLACES, TYPES = (
    f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
)
TEXT_PROJECTION = "decoder.text_guidance_proj.weight"
Shapes = Mapping[str, torch.Size]


def check_discrete(facts: Mapping[str, Any]) -> None:
    """Raise a CheckpointError for a model of continuous latents."""
    mode = fact(facts, "model.vq_model.quantize_mode", "vq")
    if mode != "vq":
        raise CheckpointError(
            f"quantize_mode '{mode}': its latents are continuous, and there are no tokens to mask; "
            "valid: vq"
        )


def heads_of(facts: Mapping[str, Any], part: str) -> int:
    """The attention heads of ``enc`` or ``dec``."""
    size = fact(facts, f"model.vq_model.vit_{part}_model_size")
    if str(size) not in HEADS:
        raise CheckpointError(unknown(f"vit_{part}_model_size", str(size), HEADS))
    return HEADS[str(size)]


def count(shapes: Shapes, pattern: str) -> int:
    """How many numbers, from 0, a pattern of names is there with."""
    number = 0
    while pattern.format(number) in shapes:
        number += 1
    return number


def without(tensors: Tensors, *names: str) -> Tensors:
    """The tensors without some."""
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def shape_of(shapes: Shapes, name: str, rank: int) -> torch.Size:
    """The shape of a tensor of so many dimensions.

    Raises:
        CheckpointError: it is missing, or has others.
    """
    if name not in shapes:
        raise CheckpointError(f"tensors do not fit; missing: {name}")
    if len(shapes[name]) != rank:
        raise CheckpointError(
            f"tensors do not fit; mis-shaped: {name} {tuple(shapes[name])}, not {rank} dimensions"
        )
    return shapes[name]


def tokenizer(facts: Mapping[str, Any], shapes: Shapes) -> TiTokConfig | None:
    """The sizes of a TiTok; None for other tensors.

    Raises:
        CheckpointError: continuous latents, a first stage without a pixel decoder, or a
            configuration that lacks something.
    """
    if TEXT_PROJECTION in shapes:
        return None
    sizes = tokenizer_sizes(facts, shapes)
    return None if sizes is None else TiTokConfig(**sizes)


def text_tokenizer(facts: Mapping[str, Any], shapes: Shapes) -> TATiTokConfig | None:
    """The sizes of a TA-TiTok; None for other tensors.

    Raises:
        CheckpointError: as `tokenizer`.
    """
    sizes = tokenizer_sizes(facts, shapes) if TEXT_PROJECTION in shapes else None
    if sizes is None:
        return None
    length = shape_of(shapes, "decoder.text_guidance_positional_embedding", 2)[0]
    return TATiTokConfig(
        **sizes, text_length=length, text_width=shape_of(shapes, TEXT_PROJECTION, 2)[1]
    )


def tokenizer_sizes(facts: Mapping[str, Any], shapes: Shapes) -> dict[str, Any] | None:
    """The arguments of the configuration of either tokenizer."""
    if not {"latent_tokens", "encoder.latent_token_positional_embedding"} <= set(shapes):
        return None
    check_discrete(facts)
    if "decoder.ffn.2.weight" in shapes and "pixel_decoder.conv_in.weight" not in shapes:
        raise CheckpointError(
            "a TiTok after its first stage of training, which has no pixel decoder; "
            "load the finished tokenizer"
        )
    encoder = shape_of(shapes, "encoder.patch_embed.weight", 4)
    places = shape_of(shapes, "decoder.positional_embedding", 2)[0] - 1
    patch = typed(facts, "model.vq_model.vit_dec_patch_size", int)
    codes, code_width = shape_of(shapes, "quantize.embedding.weight", 2)
    return {
        "codebook_size": codes,
        "code_width": code_width,
        "tokens": shape_of(shapes, "latent_tokens", 2)[0],
        "image_size": patch * math.isqrt(places),
        "unit_codes": typed(facts, "model.vq_model.use_l2_norm", bool),
        "reinterpreted": typed(facts, "model.vq_model.is_legacy", bool, True),
        "width": encoder[0],
        "depth": count(shapes, "encoder.transformer.{}.ln_1.weight"),
        "heads": heads_of(facts, "enc"),
        "patch": encoder[2],
        "decoder_width": shape_of(shapes, "decoder.mask_token", 3)[2],
        "decoder_depth": count(shapes, "decoder.transformer.{}.ln_1.weight"),
        "decoder_heads": heads_of(facts, "dec"),
        "decoder_patch": patch,
        **pixel_sizes(shapes),
    }


def pixel_sizes(shapes: Shapes) -> dict[str, Any]:
    """The sizes of the pixel decoder of a two-stage tokenizer."""
    if "pixel_quantize.embedding.weight" not in shapes:
        return {"proxy_codes": 0, "proxy_width": 0, "pixel_widths": (), "pixel_blocks": 0}
    codes, width = shape_of(shapes, "pixel_quantize.embedding.weight", 2)
    conv = "pixel_decoder.up.{}.block.0.conv1.weight"
    return {
        "proxy_codes": codes,
        "proxy_width": width,
        "pixel_widths": tuple(
            shape_of(shapes, conv.format(n), 4)[0] for n in range(count(shapes, conv))
        ),
        "pixel_blocks": count(shapes, "pixel_decoder.mid.{}.conv1.weight"),
    }


def rename_tokenizer(tensors: Tensors, config: TiTokConfig) -> Tensors:
    """The tensors of a tokenizer, without the statistics of its training."""
    return without(tensors, "quantize.embed_prob")


def image_bert(facts: Mapping[str, Any], shapes: Shapes) -> ImageBertConfig | None:
    """The sizes of ImageBert; None for other tensors.

    Raises:
        CheckpointError: a tensor is missing, or the configuration lacks the heads.
    """
    if not {WORDS, "lm_head.weight"} <= set(shapes):
        return None
    check_discrete(facts)
    codes, width = shape_of(shapes, "lm_head.weight", 2)
    return ImageBertConfig(
        codebook_size=codes,
        num_classes=shape_of(shapes, WORDS, 2)[0] - codes - 2,
        grid=(1, shape_of(shapes, PLACES, 2)[0] - 1),
        width=width,
        depth=count(shapes, "encoder.layer.{}.intermediate.dense.weight"),
        heads=typed(facts, "model.generator.num_attention_heads", int),
        mlp_width=shape_of(shapes, "encoder.layer.0.intermediate.dense.weight", 2)[0],
    )


def rename_image_bert(tensors: Tensors, config: ImageBertConfig) -> Tensors:
    """The tensors of ImageBert; its one token type becomes part of the places.

    Raises:
        CheckpointError: tensors are missing or unexpected.
    """
    source = without(tensors, "embeddings.position_ids")
    if TYPES not in source:
        raise CheckpointError(f"tensors do not fit; missing: {TYPES}")
    source[PLACES] = source[PLACES] + source.pop(TYPES)[0]
    names = {
        "embed.word_embeddings": "embeddings.word_embeddings",
        "embed.position_embeddings": "embeddings.position_embeddings",
        "embed.embeddings_ln": "embeddings.LayerNorm",
        "lm_head": "lm_head",
    }
    for block in range(config.depth):
        names |= {
            f"transformer_layers.{block}.{ours}": f"encoder.layer.{block}.{theirs}"
            for ours, theirs in LAYER.items()
        }
    rows = [
        KeyRule(f"{ours}.{kind}", f"{theirs}.{kind}")
        for ours, theirs in names.items()
        for kind in (("weight",) if theirs.endswith("_embeddings") else ("weight", "bias"))
    ]
    return translate(rows, source)


def uvit(facts: Mapping[str, Any], shapes: Shapes) -> UViTConfig | None:
    """The sizes of UViT; None for other tensors.

    Raises:
        CheckpointError: a tensor is missing, or the configuration lacks the heads.
    """
    if not {"in_blocks.0.attn.qkv.weight", "out_blocks.0.skip_linear.weight"} <= set(shapes):
        return None
    check_discrete(facts)
    codes, width = shape_of(shapes, "lm_head.weight", 2)
    return UViTConfig(
        codebook_size=codes,
        num_classes=shape_of(shapes, "embeddings.weight", 2)[0] - codes - 2,
        tokens=shape_of(shapes, "pos_embed", 3)[1] - 1,
        width=width,
        depth=2 * count(shapes, "in_blocks.{}.norm1.weight"),
        heads=typed(facts, "model.generator.num_attention_heads", int),
        mlp_width=shape_of(shapes, "mid_block.mlp.fc1.weight", 2)[0],
    )


def maskgen(facts: Mapping[str, Any], shapes: Shapes) -> MaskGenConfig | None:
    """The sizes of MaskGen-VQ; None for other tensors.

    Raises:
        CheckpointError: a tensor is missing, or the configuration lacks something.
    """
    if not {"text_embed_proj.weight", "cond_pooled_proj.weight", "pos_embed"} <= set(shapes):
        return None
    check_discrete(facts)
    told = typed(facts, "model.maskgen.micro_condition", bool)
    micro_width = typed(facts, "model.maskgen.micro_condition_embed_dim", int) if told else 0
    width, text_width = shape_of(shapes, "text_embed_proj.weight", 2)
    return MaskGenConfig(
        codebook_size=typed(facts, "model.vq_model.codebook_size", int),
        vocabulary=shape_of(shapes, "embeddings.weight", 2)[0],
        tokens=shape_of(shapes, "pos_embed", 3)[1],
        width=width,
        depth=count(shapes, "blocks.{}.norm1.linear.weight"),
        heads=typed(facts, "model.maskgen.decoder_num_heads", int),
        text_width=text_width,
        pooled_width=shape_of(shapes, "cond_pooled_proj.weight", 2)[1] - micro_width,
        micro_width=micro_width,
        tied=typed(facts, "model.maskgen.weight_tying", bool, True),
        score=typed(facts, "model.maskgen.sample_aesthetic_score", float, USUAL_SCORE),
    )


def rename_maskgen(tensors: Tensors, config: MaskGenConfig) -> Tensors:
    """The tensors of MaskGen, without an output matrix that is its embedding."""
    return without(tensors, "lm_head.weight") if config.tied else tensors

"""TiTok and MaskGen under their authors' names (arXiv 2406.07550 and 2501.07730).

Sizes are read off the arrays; the configuration beside them has the rest, as nested JSON or yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.read import CheckpointError, Tensors
from demask.registry import unknown
from demask.tokenizer.titok import TiTokConfig
from demask.transformer.image_bert import ImageBertConfig
from demask.transformer.maskgen import MaskGenConfig
from demask.transformer.uvit import UViTConfig

HEADS = {"small": 8, "base": 12, "large": 16}
"""Attention heads of a tokenizer's encoder or decoder, by the name of its size."""
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""A value that stands for another one, as the authors' programs save it."""
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

REQUIRED = object()


def is_tokenizer(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of a tokenizer of TiTok or TA-TiTok."""
    return {"latent_tokens", "encoder.latent_token_positional_embedding"} <= set(tensors)


def is_image_bert(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of ImageBert."""
    return {"embeddings.word_embeddings.weight", "lm_head.weight"} <= set(tensors)


def is_uvit(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of UViT."""
    return {"in_blocks.0.attn.qkv.weight", "out_blocks.0.skip_linear.weight"} <= set(tensors)


def is_maskgen(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of MaskGen."""
    return {"text_embed_proj.weight", "cond_pooled_proj.weight", "pos_embed"} <= set(tensors)


def fact(facts: Mapping[str, Any], place: str, default: Any = REQUIRED) -> Any:
    """A value of a nested configuration, such as ``model.vq_model.token_size``.

    Raises:
        CheckpointError: it is absent and there is no default.
    """
    found: Any = facts
    for name in place.split("."):
        found = found.get(name, REQUIRED) if isinstance(found, Mapping) else REQUIRED
    if found is REQUIRED and default is REQUIRED:
        raise CheckpointError(
            f"its configuration lacks {place}: it needs its config.json, or its yaml, beside it"
        )
    if found is REQUIRED:
        return default
    reference = REFERENCE.fullmatch(found) if isinstance(found, str) else None
    return found if reference is None or reference[1] == place else fact(facts, reference[1])


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
    if size not in HEADS:
        raise CheckpointError(unknown(f"vit_{part}_model_size", str(size), HEADS))
    return HEADS[size]


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers, from 0, a pattern of names is there with."""
    number = 0
    while pattern.format(number) in tensors:
        number += 1
    return number


def without(tensors: Tensors, *names: str) -> Tensors:
    """The tensors without some."""
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def tokenizer(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, TiTokConfig, Tensors]:
    """The configuration and tensors of a tokenizer.

    Raises:
        CheckpointError: continuous latents, a first stage without a pixel decoder, or a
            configuration that lacks something.
    """
    check_discrete(facts)
    if "decoder.ffn.2.weight" in tensors and "pixel_decoder.conv_in.weight" not in tensors:
        raise CheckpointError(
            "a TiTok after its first stage of training, which has no pixel decoder; "
            "load the finished tokenizer"
        )
    shape = {name: tensor.shape for name, tensor in tensors.items()}
    try:
        enc, dec = shape["encoder.patch_embed.weight"], shape["decoder.mask_token"]
        places = shape["decoder.positional_embedding"][0] - 1
        patch = fact(facts, "model.vq_model.vit_dec_patch_size")
        config = TiTokConfig(
            *shape["quantize.embedding.weight"],
            tokens=shape["latent_tokens"][0],
            image_size=patch * round(places**0.5),
            unit_codes=fact(facts, "model.vq_model.use_l2_norm"),
            reinterpreted=fact(facts, "model.vq_model.is_legacy", True),
            width=enc[0],
            depth=count(tensors, "encoder.transformer.{}.ln_1.weight"),
            heads=heads_of(facts, "enc"),
            patch=enc[2],
            decoder_width=dec[2],
            decoder_depth=count(tensors, "decoder.transformer.{}.ln_1.weight"),
            decoder_heads=heads_of(facts, "dec"),
            decoder_patch=patch,
            **pixel_sizes(tensors),
            **text_sizes(tensors),
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    return "titok", config, without(tensors, "quantize.embed_prob")


def pixel_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The sizes of the pixel decoder of a two-stage tokenizer."""
    if "pixel_quantize.embedding.weight" not in tensors:
        return {"proxy_codes": 0, "proxy_width": 0, "pixel_widths": (), "pixel_blocks": 0}
    codes, width = tensors["pixel_quantize.embedding.weight"].shape
    levels = count(tensors, "pixel_decoder.up.{}.block.0.conv1.weight")
    conv = "pixel_decoder.up.{}.block.0.conv1.weight"
    return {
        "proxy_codes": codes,
        "proxy_width": width,
        "pixel_widths": tuple(len(tensors[conv.format(level)]) for level in range(levels)),
        "pixel_blocks": count(tensors, "pixel_decoder.mid.{}.conv1.weight"),
    }


def text_sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes of the text that the decoder of a TA-TiTok reads."""
    if "decoder.text_guidance_proj.weight" not in tensors:
        return {}
    length = len(tensors["decoder.text_guidance_positional_embedding"])
    width = tensors["decoder.text_guidance_proj.weight"].shape[1]
    return {"text_length": length, "text_width": width}


def image_bert(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, ImageBertConfig, Tensors]:
    """The configuration and tensors of ImageBert, whose one token type becomes part of the places.

    Raises:
        CheckpointError: tensors are missing or unexpected, or the configuration lacks the heads.
    """
    check_discrete(facts)
    codes, width = tensors["lm_head.weight"].shape
    words = tensors["embeddings.word_embeddings.weight"]
    source = without(tensors, "embeddings.position_ids")
    places, types = (
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
    )
    if missing := [name for name in (places, types) if name not in source]:
        raise CheckpointError(f"tensors do not fit; missing: {', '.join(missing)}")
    source[places] = source[places] + source.pop(types)[0]
    depth = count(tensors, "encoder.layer.{}.intermediate.dense.weight")
    config = ImageBertConfig(
        codebook_size=codes,
        num_classes=len(words) - codes - 2,
        grid=(1, len(source[places]) - 1),
        width=width,
        depth=depth,
        heads=fact(facts, "model.generator.num_attention_heads"),
        mlp_width=len(tensors["encoder.layer.0.intermediate.dense.weight"]) if depth else 1,
    )
    names = {
        "embed.word_embeddings": "embeddings.word_embeddings",
        "embed.position_embeddings": "embeddings.position_embeddings",
        "embed.embeddings_ln": "embeddings.LayerNorm",
        "lm_head": "lm_head",
    }
    for block in range(depth):
        names |= {
            f"transformer_layers.{block}.{ours}": f"encoder.layer.{block}.{theirs}"
            for ours, theirs in LAYER.items()
        }
    rows = [
        KeyRule(f"{ours}.{kind}", f"{theirs}.{kind}")
        for ours, theirs in names.items()
        for kind in (("weight",) if theirs.endswith("_embeddings") else ("weight", "bias"))
    ]
    return "image_bert", config, translate(rows, source)


def uvit(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, UViTConfig, Tensors]:
    """The configuration and tensors of UViT.

    Raises:
        CheckpointError: a tensor is missing, or the configuration lacks the heads.
    """
    check_discrete(facts)
    try:
        codes, width = tensors["lm_head.weight"].shape
        config = UViTConfig(
            codebook_size=codes,
            num_classes=len(tensors["embeddings.weight"]) - codes - 2,
            tokens=tensors["pos_embed"].shape[1] - 1,
            width=width,
            depth=2 * count(tensors, "in_blocks.{}.norm1.weight"),
            heads=fact(facts, "model.generator.num_attention_heads"),
            mlp_width=len(tensors["mid_block.mlp.fc1.weight"]),
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    return "uvit", config, tensors


def maskgen(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, MaskGenConfig, Tensors]:
    """The configuration and tensors of MaskGen-VQ.

    Raises:
        CheckpointError: a tensor is missing, or the configuration lacks something.
    """
    check_discrete(facts)
    tied = fact(facts, "model.maskgen.weight_tying", True)
    micro = fact(facts, "model.maskgen.micro_condition")
    try:
        pooled = tensors["cond_pooled_proj.weight"].shape[1]
        width, text_width = tensors["text_embed_proj.weight"].shape
        micro_width = fact(facts, "model.maskgen.micro_condition_embed_dim") if micro else 0
        config = MaskGenConfig(
            codebook_size=fact(facts, "model.vq_model.codebook_size"),
            vocabulary=len(tensors["embeddings.weight"]),
            tokens=tensors["pos_embed"].shape[1],
            width=width,
            depth=count(tensors, "blocks.{}.norm1.linear.weight"),
            heads=fact(facts, "model.maskgen.decoder_num_heads"),
            text_width=text_width,
            pooled_width=pooled - micro_width,
            micro_width=micro_width,
            tied=tied,
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    return "maskgen", config, without(tensors, "lm_head.weight") if tied else tensors

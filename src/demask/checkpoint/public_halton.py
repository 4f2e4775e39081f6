"""The transformers of Halton-MaskGIT and MaskGIT-pytorch 1.0, described by their tensors.

The files hold no sizes. What the shapes do not say is known for the published widths; for others a
``config.json`` beside the file says it, such as ``{"heads": 4, "codebook_size": 64}``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.read import CheckpointError, Tensors
from demask.checkpoint.unfilled import Unfilled
from demask.transformer.halton_maskgit import SIZES, HaltonMaskGIT, HaltonMaskGITConfig
from demask.transformer.maskgit_v1 import MaskGITV1, MaskGITV1Config
from demask.types import Grid

HALTON_HEADS = {width: heads for width, _, heads, _ in SIZES.values()}
V1_HEADS = {768: 16, 1024: 16}
V1_VOCABULARIES = {2026: 1024}
"""Codes by vocabulary: of the published model, whose file tells codes and classes not apart."""

HALTON = {
    "embed": "tok_emb",
    "embed_class": "cls_emb",
    "positions": "pos_emb",
    "registers": "reg_tokens",
    "norm.weight": "last_norm.norm_final.weight",
    "norm_bias": "last_norm.norm_final.bias",
    "modulate": "last_norm.mlp.1",
    "head_bias": "head.bias",
}
HALTON_BLOCK = {
    "modulate": "mlp.1",
    "attention_norm": "ln1",
    "attention.query": "attn.wq",
    "attention.key": "attn.wk",
    "attention.value": "attn.wv",
    "attention.out": "attn.wo",
    "mlp_norm": "ln2",
    "mlp.gate": "ff.w1",
    "mlp.up": "ff.w3",
    "mlp.down": "ff.w2",
}
V1 = {
    "embed": "tok_emb",
    "positions": "pos_emb",
    "bias": "bias",
    "first.norm": "first_layer.0",
    "first.dense": "first_layer.2",
    "first.out_norm": "first_layer.4",
    "first_out": "first_layer.6",
    "last.norm": "last_layer.0",
    "last.dense": "last_layer.2",
    "last.out_norm": "last_layer.4",
}
V1_BLOCK = {
    "attention_norm": "0.norm",
    "attention.out": "0.fn.mha.out_proj",
    "mlp_norm": "1.norm",
    "up": "1.fn.net.0",
    "down": "1.fn.net.3",
}
V1_PROJECTIONS = ("query", "key", "value")
"""The parts of ``in_proj_weight`` and ``in_proj_bias``, in their order."""


def is_halton(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of Halton-MaskGIT's transformer (arXiv 2503.17076)."""
    return {"cls_emb.weight", "transformer.layers.0.attn.wq.weight"} <= set(tensors)


def is_v1(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of MaskGIT-pytorch 1.0's transformer (arXiv 2310.14400)."""
    return {"bias", "transformer.layers.0.0.fn.mha.in_proj_weight"} <= set(tensors)


def halton(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, HaltonMaskGITConfig, Tensors]:
    """The configuration and tensors, under our names, of Halton-MaskGIT's transformer.

    Raises:
        CheckpointError: tensors are missing or unexpected, or the number of heads is unknown.
    """
    kept = dict(tensors)
    head, words = kept.pop("head.weight", None), kept.get("tok_emb.weight")
    if head is not None and words is not None and not same(head, words):
        raise CheckpointError("head.weight is not tok_emb.weight; the two are one matrix")
    try:
        width = kept["tok_emb.weight"].shape[1]
        config = HaltonMaskGITConfig(
            codebook_size=len(kept["tok_emb.weight"]) - 1,
            num_classes=len(kept["cls_emb.weight"]) - 1,
            grid=square(len(kept["pos_emb.weight"])),
            width=width,
            depth=blocks_of(kept),
            heads=told("heads", HALTON_HEADS.get(width), facts, f"width {width}"),
            mlp_width=len(kept["transformer.layers.0.ff.w1.weight"]),
            registers=len(kept.get("reg_tokens.weight", ())),
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    with Unfilled():
        own = HaltonMaskGIT(config).state_dict()
    return "halton_maskgit", config, translate(rules(own, HALTON, HALTON_BLOCK), kept)


def v1(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, MaskGITV1Config, Tensors]:
    """The configuration and tensors, under our names, of MaskGIT-pytorch 1.0's transformer.

    Raises:
        CheckpointError: tensors are missing or unexpected, or the number of heads or codes is
            unknown.
    """
    try:
        vocabulary, width = tensors["tok_emb.weight"].shape
        known = V1_VOCABULARIES.get(vocabulary)
        codebook_size = told("codebook_size", known, facts, f"{vocabulary} ids")
        config = MaskGITV1Config(
            codebook_size=codebook_size,
            num_classes=vocabulary - codebook_size - 2,
            grid=square(len(tensors["bias"]) - 1),
            width=width,
            depth=blocks_of(tensors),
            heads=told("heads", V1_HEADS.get(width), facts, f"width {width}"),
            mlp_width=len(tensors["transformer.layers.0.1.fn.net.0.weight"]),
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    if config.num_classes < 1:
        raise CheckpointError(f"{vocabulary} ids do not hold {codebook_size} codes and a class")
    with Unfilled():
        own = MaskGITV1(config).state_dict()
    return "maskgit_v1", config, translate(rules(own, V1, V1_BLOCK), tensors)


def rules(
    own: Iterable[str],
    outside: Mapping[str, str],
    inside: Mapping[str, str],
    packed: str = "0.fn.mha",
) -> Iterable[KeyRule]:
    """The key map of a network.

    Args:
        own: our keys.
        outside: their names of what is outside of the blocks.
        inside: their names of what is inside of one.
        packed: their name of the attention, whose query, key and value are one matrix.
    """
    for key in own:
        prefix, name, table = "", key, outside
        if key.startswith("blocks."):
            _, index, name = key.split(".", 2)
            prefix, table = f"transformer.layers.{index}.", inside
        stem, _, kind = name.rpartition(".")
        if name in table:
            yield KeyRule(key, table[name])
        elif stem in table:
            yield KeyRule(key, f"{prefix}{table[stem]}.{kind}")
        else:
            part = V1_PROJECTIONS.index(stem.removeprefix("attention."))
            theirs = f"{prefix}{packed}.in_proj_{kind}"
            yield KeyRule(key, theirs, lambda packed, part=part: packed.chunk(3)[part])  # type: ignore[misc]


def told(name: str, known: int | None, facts: Mapping[str, Any], of: str) -> int:
    """A number that shapes do not say: that of ``config.json``, or of the published models.

    Raises:
        CheckpointError: neither says it.
    """
    value = facts.get(name, known)
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"{of}: the tensors do not say {name}; write it into a config.json beside the file, "
            f'such as {{"{name}": 16}}'
        )
    return value


def square(tokens: int) -> Grid:
    """Rows and columns of the square grid of so many tokens.

    Raises:
        CheckpointError: it is not a square number.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise CheckpointError(f"{tokens} positions are not a square number")
    return side, side


def blocks_of(tensors: Mapping[str, Tensor]) -> int:
    """The number of blocks."""
    indices = {name.split(".")[2] for name in tensors if name.startswith("transformer.layers.")}
    return len(indices)


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are one storage, or equal."""
    shared = first.data_ptr() == second.data_ptr() and first.shape == second.shape
    return shared or torch.equal(first, second)

"""MaskBit's generators and tokenizers, described by their tensors and the yaml file beside them.

A public file is a state dict and nothing else. All sizes but the number of heads follow from it;
the settings are in yaml files of the authors' program, which are read where they lie beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.public_halton import blocks_of, rules, square, told
from demask.checkpoint.read import CheckpointError, Tensors
from demask.checkpoint.unfilled import Unfilled
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskbit import MaskBit, MaskBitConfig

HEADS = {1024: 16}
"""Heads by width, of the published models."""
DERIVED = ("bits_to_indices", "quantize.bits_to_indices", "quantize.codebook")
"""Buffers that follow from the sizes."""
GENERATOR = {
    "embed": "input_proj",
    "embed_class": "class_emb",
    "positions": "pos_emb",
    "norm": "first_layer.0",
    "dense": "last_layer.0",
    "dense_norm": "last_layer.2",
    "output": "prediction_layer",
}
BLOCK = {
    "attention.out": "0.mha.out_proj",
    "attention_norm": "0.norm",
    "up": "1.net.0",
    "down": "1.net.2",
    "mlp_norm": "1.norm",
}


def is_generator(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of MaskBit's generator (arXiv 2409.16211)."""
    return {"class_emb.weight", "transformer.layers.0.0.mha.in_proj_weight"} <= set(tensors)


def is_tokenizer(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of MaskBit's tokenizer or of a VQGAN+ of its authors."""
    return "encoder.down.0.res_blocks.0.conv1.weight" in tensors


def generator(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, MaskBitConfig, Tensors]:
    """The configuration and tensors, under our names, of MaskBit's generator.

    Raises:
        CheckpointError: tensors are missing or unexpected, sizes that do not fit together, or the
            number of heads is unknown.
    """
    # older files call the input layer token_emb
    kept = {
        re.sub(r"^token_emb\.", "input_proj.", name): tensor
        for name, tensor in tensors.items()
        if name not in DERIVED
    }
    if any(name.startswith("norm_after_transformer.") for name in kept):
        raise CheckpointError("a pre-norm generator (use_prenorm); only post-norm ones are known")
    known = settings(facts, "mlm_model")
    try:
        width, bits = kept["input_proj.weight"].shape
        config = MaskBitConfig(
            bits=bits,
            splits=splits_of(bits, len(kept["prediction_layer.weight"]), known),
            num_classes=len(kept["class_emb.weight"]) - 1,
            grid=square(kept["pos_emb"].shape[1] - 1),
            width=width,
            depth=blocks_of(kept),
            heads=told("heads", HEADS.get(width), known, f"width {width}"),
            mlp_width=len(kept["transformer.layers.0.1.net.0.weight"]),
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"tensors do not fit: {error}") from None
    with Unfilled():
        own = MaskBit(config).state_dict()
    return "maskbit", config, translate(rules(own, GENERATOR, BLOCK, "0.mha"), kept)


def splits_of(bits: int, outputs: int, known: Mapping[str, Any]) -> int:
    """The parts of an id, from the outputs of a position: S 2^(b / S).

    Raises:
        CheckpointError: no number of parts fits, or not the one of the yaml file.
    """
    fitting = [s for s in range(1, bits + 1) if bits % s == 0 and s << (bits // s) == outputs]
    splits = known.get("codebook_splits", fitting[0] if fitting else None)
    if splits not in fitting:
        raise CheckpointError(
            f"{outputs} outputs of a position are no {splits or 'equal'} parts of {bits} bits"
        )
    return int(splits)


def tokenizer(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, VQGANConfig, Tensors]:
    """The configuration and tensors, under our names, of MaskBit's tokenizer or a VQGAN+.

    Raises:
        CheckpointError: tensors are missing or unexpected, or codes of unit length.
    """
    kept = {name: tensor for name, tensor in tensors.items() if name not in DERIVED}
    if settings(facts, "vq_model").get("use_l2_normalisation"):
        raise CheckpointError("codes of unit length (use_l2_normalisation) are not known")
    try:
        channels = len(kept["encoder.conv_in.weight"])
        levels = numbered(kept, r"encoder\.down\.(\d+)\.")
        widths = [
            len(kept[f"encoder.down.{level}.res_blocks.0.conv1.weight"]) for level in range(levels)
        ]
        latent_width = len(kept["encoder.conv_out.weight"])
        codes = kept.get("quantize.embedding.weight")
        config = VQGANConfig(
            channels=channels,
            multipliers=tuple(width // channels for width in widths),
            blocks=numbered(kept, r"encoder\.down\.0\.res_blocks\.(\d+)\."),
            decoder_blocks=numbered(kept, r"decoder\.up\.0\.res_blocks\.(\d+)\."),
            codebook_size=2**latent_width if codes is None else len(codes),
            latent_width=latent_width,
            strided=any(".down_conv." in name for name in kept),
            lookup_free=codes is None,
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    except (ValueError, ArithmeticError) as error:
        raise CheckpointError(f"tensors do not fit: {error}") from None
    with Unfilled():
        own = VQGAN(config).state_dict()
    rows = [KeyRule(key, tokenizer_key(key, levels, config.strided)) for key in own]
    return "vqgan", config, translate(rows, kept)


def tokenizer_key(key: str, levels: int, strided: bool) -> str:
    """The public name of one of our keys.

    Their decoder counts its levels from the coarsest one, except in MaskGIT's own tokenizer.
    """
    key = re.sub(r"\.shrink\.(\d+)\.", r".down.\1.down_conv.", key)
    key = re.sub(r"\.mid\.", ".mid.res_blocks.", key)
    key = key.replace(".block.", ".res_blocks.")
    level = re.match(r"decoder\.up\.(\d+)\.(.*)", key)
    if level is None or not strided:
        return key
    return f"decoder.up.{levels - 1 - int(level[1])}.{level[2]}"


def numbered(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers stand in names at a place."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def settings(facts: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """A part of the authors' yaml file, and the entries of a ``config.json``."""
    model = facts.get("model")
    own = model.get(part) if isinstance(model, Mapping) else None
    return {**(own if isinstance(own, Mapping) else {}), **facts}

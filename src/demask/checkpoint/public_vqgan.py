"""The tokenizers of LlamaGen and of taming-transformers, described by their tensors alone.

Both are a `demask.tokenizer.vq_model.VQModel` under other names. LlamaGen counts the levels of the
decoder from the coarsest one, taming-transformers from the finest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from demask.checkpoint.key_map import KeyRule, translate
from demask.checkpoint.read import CheckpointError, Tensors
from demask.checkpoint.unfilled import Unfilled
from demask.tokenizer.vq_model import VQModel, VQModelConfig

Names = tuple[tuple[str, str], ...]
"""Patterns of our keys, and what stands in their place in a public file."""

COMMON: Names = (
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"attentions\.", "attn."),
    (r"(down|up)samplers\.0", r"\1sample"),
)
LLAMAGEN: Names = (
    *COMMON,
    (r"mid_block\.resnets\.0", "mid.0"),
    (r"mid_block\.attn\.0", "mid.1"),
    (r"mid_block\.resnets\.1", "mid.2"),
    (r"(down|up)_blocks", "conv_blocks"),
    (r"resnets", "res"),
)
TAMING: Names = (
    *COMMON,
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.attn\.0", "mid.attn_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"(down|up)_blocks", r"\1"),
    (r"resnets", "block"),
)
BOOKKEEPING = ("quantize.codebook_used",)
"""Tensors of LlamaGen's training that do not belong to the network."""
TRAINING = "loss."
"""Prefix of the discriminator and the perceptual network in a file of taming-transformers."""


def is_llamagen(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of LlamaGen's tokenizer (arXiv 2406.06525)."""
    return "encoder.conv_blocks.0.res.0.conv1.weight" in tensors


def is_taming(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of a VQGAN of taming-transformers (arXiv 2012.09841)."""
    return "encoder.mid.attn_1.q.weight" in tensors and "quantize.embedding.weight" in tensors


def llamagen(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, VQModelConfig, Tensors]:
    """The configuration and tensors, under our names, of LlamaGen's tokenizer.

    Raises:
        CheckpointError: tensors are missing or unexpected.
    """
    kept = {name: tensor for name, tensor in tensors.items() if name not in BOOKKEEPING}
    config = config_of(kept, "encoder.conv_blocks.{}.res.{}.conv1.weight", unit_codes=True)
    return "vq_model", config, renamed(kept, config, lambda name: substituted(name, LLAMAGEN))


def taming(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, VQModelConfig, Tensors]:
    """The configuration and tensors, under our names, of a VQGAN of taming-transformers.

    Raises:
        CheckpointError: tensors are missing or unexpected.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINING)}
    config = config_of(kept, "encoder.down.{}.block.{}.conv1.weight", unit_codes=False)
    last = len(config.widths) - 1

    def theirs(name: str) -> str:
        turned = re.sub(
            r"up_blocks\.(\d+)", lambda match: f"up_blocks.{last - int(match[1])}", name
        )
        return substituted(turned, TAMING)

    return "vq_model", config, renamed(kept, config, theirs)


def config_of(tensors: Tensors, block: str, *, unit_codes: bool) -> VQModelConfig:
    """The sizes of a network, read from the shapes of its tensors.

    Args:
        tensors: under their public names.
        block: the name of a convolution in the encoder, with places for level and block.
        unit_codes: see `VQModelConfig`.

    Raises:
        CheckpointError: a tensor is missing.
    """
    levels = counted(tensors, lambda level: block.format(level, 0))
    attention = block.replace(".res.", ".attn.").replace(".block.", ".attn.").replace("conv1", "q")
    try:
        return VQModelConfig(
            widths=tuple(len(tensors[block.format(level, 0)]) for level in range(levels)),
            blocks=counted(tensors, lambda index: block.format(0, index)),
            codebook_size=len(tensors["quantize.embedding.weight"]),
            latent_width=tensors["quant_conv.weight"].shape[1],
            code_width=len(tensors["quant_conv.weight"]),
            image_channels=tensors["encoder.conv_in.weight"].shape[1],
            attention=tuple(n for n in range(levels) if attention.format(n, 0) in tensors),
            mid_attention=True,
            unit_codes=unit_codes,
            signed=True,
        )
    except KeyError as error:
        raise CheckpointError(f"tensors do not fit; missing: {error.args[0]}") from None
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"its tensors describe no tokenizer ({error})") from None


def counted(tensors: Mapping[str, Tensor], name: Callable[[int], str]) -> int:
    """How many of the names of 0, 1, 2, ... there are, up to the first gap."""
    count = 0
    while name(count) in tensors:
        count += 1
    return count


def renamed(tensors: Tensors, config: VQModelConfig, theirs: Callable[[str], str]) -> Tensors:
    """The tensors under our names.

    Raises:
        CheckpointError: names the tensors that are missing or unexpected, as the file has them.
    """
    with Unfilled():
        own = VQModel(config).state_dict()
    return translate((KeyRule(name, theirs(name)) for name in own), tensors)


def substituted(name: str, patterns: Names) -> str:
    """A name with every pattern replaced in turn."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name

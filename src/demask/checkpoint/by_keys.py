"""Networks in public files that no configuration describes: recognised by the names of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from demask.checkpoint import public_halton, public_maskbit, public_vqgan
from demask.checkpoint.plausible import bare
from demask.checkpoint.read import Tensors
from demask.registry import Table


@dataclass(frozen=True)
class KeyLayout:
    """The names of a public program's tensors.

    Attributes:
        about: the network, for people.
        matches: whether tensors have these names.
        read: from tensors and the facts of a ``config.json`` beside them to the name of the
            architecture, its configuration and the tensors under our names.
    """

    about: str
    matches: Callable[[Mapping[str, Tensor]], bool]
    read: Callable[[Tensors, Mapping[str, Any]], tuple[str, Any, Tensors]]


KEY_LAYOUTS: Table[KeyLayout] = Table(
    "layout of keys",
    {
        "llamagen_vq": KeyLayout(
            "the tokenizer of LlamaGen", public_vqgan.is_llamagen, public_vqgan.llamagen
        ),
        "taming_vqgan": KeyLayout(
            "a VQGAN of taming-transformers", public_vqgan.is_taming, public_vqgan.taming
        ),
        "maskbit_tokenizer": KeyLayout(
            "a tokenizer of MaskBit", public_maskbit.is_tokenizer, public_maskbit.tokenizer
        ),
        "maskbit": KeyLayout(
            "a generator of MaskBit", public_maskbit.is_generator, public_maskbit.generator
        ),
        "halton": KeyLayout(
            "the transformer of Halton-MaskGIT", public_halton.is_halton, public_halton.halton
        ),
        "maskgit_v1": KeyLayout(
            "the transformer of MaskGIT-pytorch 1.0", public_halton.is_v1, public_halton.v1
        ),
    },
)


def recognised(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, Any, Tensors] | None:
    """The architecture, configuration and tensors of a known layout, or None.

    Args:
        tensors: under the names of a public program, with or without a prefix.
        facts: what a ``config.json`` beside them says; a layout may need a number from it.

    Raises:
        CheckpointError: tensors are missing or unexpected, or a number is missing.
    """
    tensors = bare(tensors)
    for layout in KEY_LAYOUTS.values():
        if layout.matches(tensors):
            return layout.read(tensors, facts)
    return None

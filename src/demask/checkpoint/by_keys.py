"""Networks in public files that no configuration describes: recognised by the names of tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from demask.checkpoint import public_halton, public_maskbit, public_titok, public_vqgan
from demask.checkpoint.plausible import bare
from demask.checkpoint.read import CheckpointError, Tensors
from demask.registry import Table

log = logging.getLogger(__name__)

NAMED_SO = "model."
"""The beginning of all keys of ImageBert's published files."""


@dataclass(frozen=True)
class KeyLayout:
    """The names of a public program's tensors.

    Attributes:
        about: the network, for people.
        matches: whether tensors have these names.
        read: from tensors and the facts of a ``config.json`` beside them to the name of the
            architecture, its configuration and the tensors under our names; or to None.
    """

    about: str
    matches: Callable[[Mapping[str, Tensor]], bool]
    read: Callable[[Tensors, Mapping[str, Any]], tuple[str, Any, Tensors] | None]


def by_sizes(
    name: str,
    config_of: Callable[[Mapping[str, Any], Mapping[str, torch.Size]], Any],
    rename: Callable[[Tensors, Any], Tensors] = lambda tensors, _config: tensors,
) -> KeyLayout:
    """The layout of an architecture whose configuration comes from facts and shapes."""

    def read(tensors: Tensors, facts: Mapping[str, Any]) -> tuple[str, Any, Tensors] | None:
        config = config_of(facts, {key: tensor.shape for key, tensor in tensors.items()})
        return None if config is None else (name, config, rename(tensors, config))

    return KeyLayout(name, lambda _tensors: True, read)


KEY_LAYOUTS: Table[KeyLayout] = Table(
    "layout of keys",
    {
        "llamagen_vq": KeyLayout(
            "the tokenizer of LlamaGen", public_vqgan.is_llamagen, public_vqgan.llamagen
        ),
        "taming_vqgan": KeyLayout(
            "a VQGAN of taming-transformers", public_vqgan.is_taming, public_vqgan.taming
        ),
        "titok": by_sizes("titok", public_titok.tokenizer, public_titok.rename_tokenizer),
        "ta_titok": by_sizes(
            "ta_titok", public_titok.text_tokenizer, public_titok.rename_tokenizer
        ),
        "image_bert": by_sizes(
            "image_bert", public_titok.image_bert, public_titok.rename_image_bert
        ),
        "uvit": by_sizes("uvit", public_titok.uvit),
        "maskgen": by_sizes("maskgen", public_titok.maskgen, public_titok.rename_maskgen),
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
        CheckpointError: tensors are missing, unexpected or mis-shaped, or a number of ``facts`` is
            missing or wrong.
    """
    first = next(iter(tensors), "")
    tensors = bare(tensors)
    taken = first.removesuffix(next(iter(tensors), ""))
    for layout in KEY_LAYOUTS.values():
        try:
            found = layout.read(tensors, facts) if layout.matches(tensors) else None
        except CheckpointError:
            raise
        except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise CheckpointError(f"sizes that do not fit {layout.about} ({error})") from None
        if found is not None:
            if taken not in ("", NAMED_SO):
                log.warning("the keys of all tensors begin with '%s'; it is taken off", taken)
            return found
    return None

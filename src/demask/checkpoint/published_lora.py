"""LoRA files of aMUSEd's published training example: one safetensors file of pairs of matrices.

Its keys are ``transformer.<layer>.lora_A.weight`` and ``.lora_B.weight`` (``text_encoder.`` for the
text encoder). Such a file names no base model, so that shapes alone tell whether it fits. Files of
the example hold no alpha either; newer programs write it into the header.

Shape legend: M output channels, K input channels, R rank.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from demask.checkpoint.layout import SAFE, CheckpointError
from demask.checkpoint.plausible import check_values
from demask.checkpoint.read import read_header_metadata, read_tensors

log = logging.getLogger(__name__)

FILE = "pytorch_lora_weights.safetensors"
METADATA = "lora_adapter_metadata"
"""The entry of the header in which newer programs store rank and alpha."""
NETWORKS = {"transformer": "transformer", "text_encoder": "text"}
"""The first part of the keys, and the network of ours."""
KEY = re.compile(rf"({'|'.join(NETWORKS)})\.(.+)\.(lora_A|lora_B)\.weight")


@dataclass(frozen=True)
class Pair:
    """The adapter of a layer: its change of the weight is scale * B A.

    Attributes:
        layer: the layer.
        down_RK: A.
        up_MR: B.
        scale: alpha / rank times the weight of the file.
    """

    layer: nn.Linear
    down_RK: Tensor
    up_MR: Tensor
    scale: float

    @torch.no_grad()
    def merge(self) -> None:
        """Add it to the weight of the layer."""
        change_MK = self.scale * (self.up_MR.float() @ self.down_RK.float())
        weight_MK = self.layer.weight
        weight_MK.copy_((weight_MK.float() + change_MK.to(weight_MK.device)).to(weight_MK.dtype))


def published_file(path: Path) -> Path | None:
    """The file of a path that is one, or of a folder that holds one; else None."""
    if path.is_file() and path.suffix == SAFE:
        return path
    return path / FILE if (path / FILE).is_file() else None


def read_published(
    file: Path, weight: float | None, networks: Mapping[str, nn.Module]
) -> list[Pair]:
    """The adapters of a file for some networks; nothing is changed yet.

    Args:
        file: the file.
        weight: the factor that the user gave; 1 if there is none.
        networks: ``transformer`` and, of a model of prompts, ``text``.

    Raises:
        CheckpointError: it cannot be read, or does not fit; the line names the keys.
    """
    tensors, _ = read_tensors(file)
    header = read_header_metadata(file).get(METADATA)
    try:
        facts = json.loads(header) if header else {}
        assert isinstance(facts, dict)
    except (ValueError, AssertionError):
        raise CheckpointError(f"{file}: its {METADATA} is no JSON object") from None
    if not facts and weight is None:
        log.warning(
            "%s holds no alpha; it is applied at scale 1. If it was trained with an alpha "
            "other than its rank, write alpha / rank behind the path, as in PATH:2",
            file,
        )
    try:
        check_values({name: torch.empty(0) for name in tensors}, tensors)
        return [
            made
            for key in sorted(tensors)
            if (made := pair_of(key, tensors, facts, 1.0 if weight is None else weight, networks))
        ]
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None


def pair_of(
    key: str,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    weight: float,
    networks: Mapping[str, nn.Module],
) -> Pair | None:
    """The adapter of a key of a matrix A; None for that of B, which is checked.

    Raises:
        CheckpointError: an unexpected key, a missing partner, no such layer or other shapes.
    """
    found = KEY.fullmatch(key)
    if found is None:
        raise CheckpointError(f"unexpected: {key}; a LoRA has lora_A and lora_B of linear layers")
    prefix, name, side = found.groups()
    other = "lora_B" if side == "lora_A" else "lora_A"
    partner = f"{prefix}.{name}.{other}.weight"
    if partner not in tensors:
        raise CheckpointError(f"missing: {partner}")
    if side == "lora_B":
        return None
    network = networks.get(NETWORKS[prefix])
    layer = dict(network.named_modules()).get(name) if network else None
    if not isinstance(layer, nn.Linear):
        of = type(network).__name__ if network else "the model"
        raise CheckpointError(f"unexpected: {key}; {of} has no such linear layer")
    down_RK, up_MR = tensors[key], tensors[partner]
    rank = len(down_RK) if down_RK.ndim else 0
    wanted = (rank, layer.in_features), (layer.out_features, rank)
    if (tuple(down_RK.shape), tuple(up_MR.shape)) != wanted:
        shapes = f"{tuple(down_RK.shape)} and {tuple(up_MR.shape)}"
        raise CheckpointError(f"mis-shaped: {key} {shapes} for {wanted[0]}, {wanted[1]}")
    return Pair(layer, down_RK, up_MR, weight * scale_of(name, rank, prefix, facts))


def scale_of(layer: str, rank: int, prefix: str, facts: Mapping[str, Any]) -> float:
    """Alpha / rank of a layer by the metadata of the file; 1 without any.

    Raises:
        CheckpointError: an alpha that is no number above 0.
    """
    alpha = facts.get(f"{prefix}.lora_alpha", rank)
    for ending, own in (facts.get(f"{prefix}.alpha_pattern") or {}).items():
        if f".{layer}".endswith(f".{ending}"):
            alpha = own
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise CheckpointError(f"its {METADATA} has lora_alpha = {alpha!r}")
    rooted = f"{prefix}.lora_alpha" in facts and facts.get(f"{prefix}.use_rslora")
    return float(alpha / (math.sqrt(rank) if rooted else rank))

"""The networks that Demask trains to measure with, and how one is read from its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demask.evaluation.patch_mixer import PatchMixer, PatchMixerConfig
from demask.evaluation.small_conv import SmallConv, SmallConvConfig
from demask.registry import Table

NETWORKS: Table[tuple[Callable[[Any], nn.Module], type[Any]]] = Table(
    "measuring network",
    {
        "small_conv": (SmallConv, SmallConvConfig),
        "patch_mixer": (PatchMixer, PatchMixerConfig),
    },
)
"""Name -> the network and its configuration."""


@dataclass(frozen=True)
class Classifier:
    """A network from a file.

    Attributes:
        network: pictures in [0, 1] -> features and logits.
        class_names: what the logits mean.
        size: side of the pictures that it was trained on.
    """

    network: nn.Module
    class_names: tuple[str, ...]
    size: int


def load_classifier(path: Path) -> Classifier:
    """Read what `demask train classifier` wrote.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such file; 'demask train classifier' writes one")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get("demask", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    return _built(path, described, tensors)


def _built(
    path: Path, described: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> Classifier:
    name = str(described.get("architecture"))
    if name not in NETWORKS:
        raise ValueError(f"{path}: holds no measuring network; valid: {', '.join(NETWORKS)}")
    module, config = NETWORKS[name]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in described["config"].items()}
    try:
        network = module(config(**values)).eval()
        network.load_state_dict(
            {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    return Classifier(network, tuple(described["class_names"]), described["size"])

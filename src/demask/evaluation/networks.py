"""The networks that Demask trains for evaluation, and their loader."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demask.evaluation.pair_scorer import PairScorer, PairScorerConfig
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
        network: images (B, 3, H, W) in [0, 1] -> features (B, D) and logits (B, K).
        class_names: the classes of the logits.
        size: side of its input images, in pixels.
    """

    network: nn.Module
    class_names: tuple[str, ...]
    size: int


def load_classifier(path: Path) -> Classifier:
    """Read a file of ``demask train classifier``.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    described, tensors = read_network(path, "classifier")
    name = str(described.get("architecture"))
    if name not in NETWORKS:
        raise ValueError(f"{path}: holds no measuring network; valid: {', '.join(NETWORKS)}")
    network = built(path, *NETWORKS[name], described, tensors)
    return Classifier(network, tuple(described["class_names"]), described["size"])


def load_pair_scorer(path: Path) -> PairScorer:
    """Read a file of ``demask train scorer``.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    described, tensors = read_network(path, "scorer")
    if described.get("architecture") != "pair_scorer":
        raise ValueError(f"{path}: holds no scorer that 'demask train scorer' wrote")
    network = built(path, PairScorer, PairScorerConfig, described, tensors)
    assert isinstance(network, PairScorer)
    return network


def read_tensors(path: Path, advice: str) -> Mapping[str, Any]:
    """The content of a ``.pt``, ``.pth`` or ``.safetensors`` file by name; no code in it is run.

    Raises:
        ValueError: it cannot be read, with ``advice`` on which file to take.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise many types of errors on broken data
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        message = f"{path}: holds more than tensors, or is broken ({reason}); {advice}"
        raise ValueError(message) from None
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path}: holds no named tensors; {advice}")
    return loaded


def read_network(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The metadata and the tensors of a file that ``demask train`` wrote.

    Raises:
        ValueError: no such file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such file; 'demask train {kind}' writes one")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get("demask", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    return described, tensors


def built(
    path: Path,
    module: Callable[[Any], nn.Module],
    config: type[Any],
    described: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
) -> nn.Module:
    """The network of a file, in float32 and evaluation mode.

    Raises:
        ValueError: the metadata does not fit the tensors.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in described["config"].items()}
    try:
        network = module(config(**values)).eval()
        network.load_state_dict(
            {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    return network

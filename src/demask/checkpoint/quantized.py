"""Quantized networks in checkpoints.

The tensors are integers with their scales; the metadata also holds

    "quantization": {"scheme": "w4a8", "base": "...", "layers": {"blocks.0.mlp.up": [4, 8, 32]}}

with bits, activation bits and group size of each layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from demask.checkpoint.read import CheckpointError, Description
from demask.checkpoint.save import save_model
from demask.transformer.quantized_linear import Precision, QuantizedLinear

KEY = "quantization"
BASE = "made_from"
"""Attribute of a quantized network: the fingerprint of its full-precision original."""


def made_from(network: nn.Module) -> str | None:
    """The fingerprint of the full-precision original; None for a network that is not quantized."""
    return getattr(network, BASE, None)


def name_origin(network: nn.Module, base: str) -> None:
    """Set the fingerprint of the full-precision original."""
    setattr(network, BASE, base)


def save_quantized(
    path: Path, network: nn.Module, architecture: str, scheme: str, **more: Any
) -> None:
    """Write a quantized network; see `demask.checkpoint.save.save_model`."""
    layers = {
        name: [layer.precision.bits, layer.precision.activations, layer.precision.group]
        for name, layer in network.named_modules()
        if isinstance(layer, QuantizedLinear)
    }
    facts = {"scheme": scheme, "base": made_from(network), "layers": layers}
    save_model(path, network, architecture, **{**more, KEY: facts})


def prepare(network: nn.Module, description: Description) -> None:
    """Replace layers of an uninitialised network by the quantized layers of a checkpoint.

    Raises:
        CheckpointError: the description is invalid or does not match the network.
    """
    facts = description.get(KEY)
    if facts is None:
        return
    layers = facts.get("layers") if isinstance(facts, Mapping) else None
    if not isinstance(layers, Mapping):
        raise CheckpointError(f"its '{KEY}' lacks the table 'layers'")
    for path, written in layers.items():
        parent, name, layer = find_linear(network, path)
        try:
            bits, activations, group = written
            precision = Precision(bits, activations, group)
            bias = layer.bias is not None
            low = QuantizedLinear(layer.in_features, layer.out_features, bias, precision)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(f"its layer '{path}' of low precision: {error}") from None
        setattr(parent, name, low.requires_grad_(False))
    base = facts.get("base")
    if isinstance(base, str):
        name_origin(network, base)


def find_linear(network: nn.Module, path: str) -> tuple[nn.Module, str, nn.Linear]:
    """A linear layer by name, its parent module, and its name in the parent.

    Raises:
        CheckpointError: there is none.
    """
    around, _, name = path.rpartition(".")
    try:
        parent = network.get_submodule(around)
        layer = parent.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Linear):
        raise CheckpointError(f"says that '{path}' is of low precision; that is no linear layer")
    return parent, name, layer

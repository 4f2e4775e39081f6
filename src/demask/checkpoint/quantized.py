"""Networks of low precision in a checkpoint: which layers are, and what they were made from.

The tensors are plain integers with their scales; the metadata holds, beside the architecture,

    "quantization": {"scheme": "w4a8", "base": "...", "layers": {"blocks.0.mlp.up": [4, 8, 32]}}

with bits, activations and group of each layer.
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
"""A network's attribute: the fingerprint of the one whose weights it rounds."""


def made_from(network: nn.Module) -> str | None:
    """The fingerprint of the full network; None for one that is itself full."""
    return getattr(network, BASE, None)


def name_origin(network: nn.Module, base: str) -> None:
    """Say which network one of low precision was made from."""
    setattr(network, BASE, base)


def save_quantized(
    path: Path, network: nn.Module, architecture: str, scheme: str, **more: Any
) -> None:
    """Write a network of low precision; see `demask.checkpoint.save.save_model`."""
    layers = {
        name: [layer.precision.bits, layer.precision.activations, layer.precision.group]
        for name, layer in network.named_modules()
        if isinstance(layer, QuantizedLinear)
    }
    facts = {"scheme": scheme, "base": made_from(network), "layers": layers}
    save_model(path, network, architecture, **{**more, KEY: facts})


def prepare(network: nn.Module, description: Description) -> None:
    """Give a network without weights the layers of low precision that a checkpoint describes.

    Raises:
        CheckpointError: the description is not understood, or not this network's.
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
    """A linear layer by its name, the module around it, and its name there.

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

"""Pack weights in the layout that the CPU's matrix product uses internally.

See `demask.transformer.packed_linear` for why.
"""

from __future__ import annotations

from torch import nn

from demask.transformer.packed_linear import PackedLinear, packable


def can_pack(layer: nn.Module) -> bool:
    """Whether a module is a linear layer on the CPU with a dtype that can be packed."""
    return (
        type(layer) is nn.Linear
        and layer.weight.device.type == "cpu"
        and packable(layer.weight.dtype)
    )


def pack(module: nn.Module) -> int:
    """Replace every linear layer inside a network by a `PackedLinear`.

    The packed copies, made at the first call, double the memory of those weights. Nothing happens
    on a GPU, for dtypes other than float32 and bfloat16, in bfloat16 on a processor without
    instructions for it, or where torch has no oneDNN.

    Args:
        module: a network; modified in place.

    Returns:
        The number of packed layers.
    """
    layers = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if can_pack(layer)
    ]
    for parent, name, layer in layers:
        assert isinstance(layer, nn.Linear)
        setattr(parent, name, PackedLinear(layer))
    return len(layers)

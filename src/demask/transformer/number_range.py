"""The size of a network's activations, and the first layer in which they are no longer finite.

float16 ends at 65504. A transformer with modulated layers can exceed that inside a branch although
its residual stream does not; bfloat16 has the range of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

FLOAT16_MAX = 65504.0


@contextmanager
def watched(network: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``see`` with the name and the output of every layer without parts, in their order."""

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                see(name, output)

        return hook

    layers = [(n, m) for n, m in network.named_modules() if n and not any(m.children())]
    handles = [module.register_forward_hook(hook_of(name)) for name, module in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def largest_activation(network: nn.Module, run: Callable[[], object]) -> float:
    """The largest absolute output of any layer while ``run`` calls the network."""
    largest = 0.0

    def see(name: str, output: Tensor) -> None:
        nonlocal largest
        if output.numel():
            largest = max(largest, float(output.abs().amax().float()))

    with watched(network, see):
        run()
    return largest


@torch.no_grad()
def first_non_finite(network: nn.Module, run: Callable[[], object]) -> str | None:
    """The name of the first layer whose output holds NaN or Inf while ``run`` calls the network."""
    found: list[str] = []

    def see(name: str, output: Tensor) -> None:
        if not found and not bool(torch.isfinite(output).all()):
            found.append(name)

    with watched(network, see):
        run()
    return found[0] if found else None

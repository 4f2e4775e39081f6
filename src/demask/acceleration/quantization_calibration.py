"""What low precision learns from images: the sizes of what goes into and out of each layer.

Shape legend: N rows (tokens of all images), K input channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from demask.acceleration.quantization import (
    Rows,
    Scheme,
    linear_layers,
    own_rows,
    quantize,
    quantized_layers,
)

Forwards = Callable[[], Iterator[None]]
"""Begins to run the network on the same images again, a batch at a time."""


@dataclass
class Seen:
    """What has passed a layer.

    Attributes:
        square_K: the sum of squares of each input channel.
        rows: how many inputs there were.
        output: the largest number that came out, positive or negative.
    """

    square_K: Tensor | None = None
    rows: int = 0
    output: float = 0.0

    def look(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Take a batch in, as a forward hook."""
        x_NK = inputs[0].detach().flatten(0, -2).float()
        square_K = x_NK.square().sum(0)
        self.square_K = square_K if self.square_K is None else self.square_K + square_K
        self.rows += len(x_NK)
        self.output = max(self.output, float(output.detach().abs().max()))

    @property
    def power_K(self) -> Tensor:
        """The mean square of each input channel, never 0."""
        assert self.square_K is not None
        return (self.square_K / self.rows).clamp_min(torch.finfo(torch.float32).tiny)


@contextmanager
def watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Seen]]:
    """While it is open, what passes the layers is recorded."""
    seen = {name: Seen() for name in layers}
    hooks: list[Any] = [
        layer.register_forward_hook(seen[name].look) for name, layer in layers.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def observe(layers: Mapping[str, nn.Module], forwards: Forwards) -> dict[str, Seen]:
    """What passes the layers in all the forwards; those that none reached are left out."""
    with torch.no_grad(), watched(layers) as seen:
        for _ in forwards():
            pass
    return {name: record for name, record in seen.items() if record.rows}


def calibrate(
    network: nn.Module,
    scheme: Scheme,
    share: float | None,
    forwards: Forwards,
    rows: Rows = own_rows,
) -> int:
    """Quantize a network after looking at what passes its layers (SCQ, arXiv 2411.10781).

    First calibration: an input channel's mean square says how much the rounding of its weights
    counts. Second calibration, on the network with rounded weights: of the layers, the share whose
    largest output is smallest gets int8 activations.

    Args:
        network: it is changed.
        scheme: the bits.
        share: of the layers with int8 activations (default: the scheme's).
        forwards: runs the network on the calibration images.
        rows: how a weight is rounded to int8.

    Returns:
        How many layers were replaced.
    """
    seen = observe({path: layer for _, _, path, layer in linear_layers(network)}, forwards)
    powers = {name: record.power_K for name, record in seen.items()}
    count = quantize(network, scheme, powers, rows)
    share = scheme.share if share is None else share
    if scheme.share < 1 and share > 0:
        layers = quantized_layers(network)
        seen = observe(layers, forwards)
        smallest = sorted(seen, key=lambda name: (seen[name].output, name))
        for name in smallest[: round(share * count)]:
            layers[name].precision = replace(layers[name].precision, activations=8)
    return count

"""Calibration of quantization: statistics of each layer's inputs and outputs on images.

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
"""Runs the network on the calibration images again, one batch per item."""


@dataclass
class Seen:
    """Statistics of one layer.

    Attributes:
        square_K: the sum of squares of each input channel.
        rows: number of input rows.
        output: the largest magnitude of the outputs.
    """

    square_K: Tensor | None = None
    rows: int = 0
    output: float = 0.0

    def look(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook: add a batch."""
        x_NK = inputs[0].detach().flatten(0, -2).float()
        square_K = x_NK.square().sum(0)
        self.square_K = square_K if self.square_K is None else self.square_K + square_K
        self.rows += len(x_NK)
        self.output = max(self.output, float(output.detach().abs().max()))

    @property
    def power_K(self) -> Tensor:
        """The mean square of each input channel, above 0."""
        assert self.square_K is not None
        return (self.square_K / self.rows).clamp_min(torch.finfo(torch.float32).tiny)


@contextmanager
def watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Seen]]:
    """A context in which the layers record their statistics."""
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
    """The statistics of all layers over all forwards; layers that were not reached are omitted."""
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
    """Calibrate and quantize a network (SCQ, arXiv 2411.10781).

    First calibration: the mean square of each input channel weights the rounding error of its
    column. Second calibration, on the network with rounded weights: the share of layers with the
    smallest maximum output gets int8 activations.

    Args:
        network: modified in place.
        scheme: a row of `SCHEMES`.
        share: fraction of layers with int8 activations (default: the scheme's).
        forwards: runs the network on the calibration images.
        rows: rounds a weight to int8.

    Returns:
        The number of replaced layers.
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

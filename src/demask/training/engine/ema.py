"""Exponential moving average of the weights; the average is what is exported."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class EMA:
    """The exponential moving average of some parameters.

    Args:
        parameters: the parameters; buffers are not averaged.
        decay: the weight of the previous average; at most (1 + n) / (10 + n) in update n, so that
            the random initial weights lose their influence.
    """

    def __init__(self, parameters: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: p.detach().float().clone() for name, p in parameters}

    @torch.no_grad()
    def update(self, parameters: Iterable[tuple[str, Tensor]], updates: int) -> None:
        """Add the weights after update number ``updates``, counted from 0."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        latest = {name: parameter.detach().float() for name, parameter in parameters}
        # a few kernels for all tensors: on a GPU, launching one for each takes longer
        averages = [self.tensors[name] for name in latest]
        torch._foreach_lerp_(averages, list(latest.values()), 1 - decay)

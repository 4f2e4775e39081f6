"""Measure the forward passes and the time of generating."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

CALLS = ("predict", "predict_with_attention", "smoothed_logits", "score", "advance")
"""The methods by which the loop asks a network: each pass over an image's tokens is a forward.
What one of them asks of another counts once."""


@dataclass
class CostMeter:
    """The cost of generating so far.

    A forward is one pass of any network over the tokens of one image: the model's, the second
    pass of self-guidance, a critic's, a weaker model's. They count alike, whatever their sizes; the
    seconds tell them apart.

    Attributes:
        forwards: forward passes, summed over all images.
        seconds: wall-clock time.
        cpu_seconds: processor time of all cores.
    """

    forwards: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    _inside: bool = False

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Add the time of a block."""
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - clock
        self.cpu_seconds += time.process_time() - cpu

    @contextmanager
    def counting(self, *networks: object) -> Iterator[None]:
        """Count what the networks are asked for in a block."""
        wrapped = [
            (network, name)
            for network in networks
            for name in CALLS
            if callable(getattr(network, name, None))
        ]
        for network, name in wrapped:
            assert name not in vars(network), "this network is being counted already"
            setattr(network, name, self._counted(getattr(network, name)))
        try:
            yield
        finally:
            for network, name in wrapped:
                delattr(network, name)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)  # an accelerator asks for its parameters
        def counted(*arguments: Any, **keywords: Any) -> Any:
            if self._inside:
                return call(*arguments, **keywords)
            given = [*arguments, *keywords.values()]
            tensors = [value for value in given if isinstance(value, Tensor)]
            self.forwards += len(tensors[0])
            self._inside = True
            try:
                return call(*arguments, **keywords)
            finally:
                self._inside = False

        return counted

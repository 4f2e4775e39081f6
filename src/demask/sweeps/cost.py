"""Measure the forward passes and the time of generating."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from demask.generator import Generator
from demask.guidance.passes import wrap_passes
from demask.sampling.sampler import Sampler
from demask.settings import Settings
from demask.types import Predict


@dataclass
class CostMeter:
    """The cost of generation so far.

    A forward is one pass of any network over the tokens of one image: of the model, the second pass
    of self-guidance, a Token-Critic or a weaker model. All count as one, whatever their size, and
    so does a pass of an accelerated model; the times show the difference.

    Attributes:
        forwards: forward passes, summed over all images.
        seconds: wall-clock time in seconds.
        cpu_seconds: processor time of all cores in seconds.
    """

    forwards: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Add the time of a block."""
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - clock
        self.cpu_seconds += time.process_time() - cpu

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A pass ``(tensor, condition, step) -> result`` that adds its batch size when called."""

        @functools.wraps(call)
        def counted(*arguments: Any) -> Any:
            self.forwards += len(arguments[0])
            return call(*arguments)

        return counted

    def metered(self, generator: Generator) -> Generator:
        """The same generator, with its passes counted; the networks are not modified."""
        parts = {f.name: getattr(generator, f.name) for f in fields(generator)}
        return MeteredGenerator(**parts, meter=self)


@dataclass(frozen=True)
class MeteredGenerator(Generator):
    """A generator whose passes are counted.

    Attributes:
        meter: the cost meter that counts the passes.
    """

    meter: CostMeter | None = None

    def guided(self, settings: Settings) -> Predict:
        """As `Generator.guided`, with the passes below the guidance counted."""
        assert self.meter is not None
        return wrap_passes(super().guided(settings), self.meter.counted)

    def sampler(self, settings: Settings) -> Sampler:
        """As `Generator.sampler`, with the passes of the order counted."""
        assert self.meter is not None
        sampler = super().sampler(settings)
        return replace(sampler, order=sampler.order.with_passes(self.meter.counted))

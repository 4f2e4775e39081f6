"""A tiny model and a sweep runner whose evaluator is arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from demask.conditioning import ParsedCondition
from demask.generator import Generator
from demask.sweeps.result import Value
from demask.sweeps.runner import SweepRunner
from tiny import tiny_generator


@dataclass
class MeanEvaluator:
    """Measures how far the images' mean is from a number, and their spread."""

    name: str = "mean"
    fingerprint: str = "a"
    target: float = 0.4
    looked: list[tuple[int, ...]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def extract(self, pixels_BHWC: Tensor, parsed_conditions: Sequence[ParsedCondition]) -> Tensor:
        self.looked.append(tuple(pixels_BHWC.shape))
        self.classes += [parsed.label for parsed in parsed_conditions]
        return pixels_BHWC.float().mean((1, 2, 3)) / 255

    def measure(self, seen: Sequence[Any]) -> list[Value]:
        means = [float(value) for part in seen for value in part]
        distance = abs(sum(means) / len(means) - self.target) + 0.01
        spread = max(means) - min(means)
        return [
            Value("frechet", self.name, distance, 0.9 * distance, 1.1 * distance),
            Value("recall", self.name, spread, spread, spread),
        ]


@pytest.fixture
def evaluator() -> MeanEvaluator:
    return MeanEvaluator()


@pytest.fixture
def runner(evaluator: MeanEvaluator, tmp_path: Path) -> SweepRunner:
    def load(aux: tuple[str, ...], dtype: str | None) -> Generator:
        assert aux == ()
        generator = tiny_generator()
        if dtype is not None:
            generator.transformer.to(getattr(torch, dtype))  # type: ignore[attr-defined]
        return generator

    return SweepRunner(
        load, [evaluator], tmp_path / "sweep", batch_size=4, command="demask sweep --recipe x"
    )

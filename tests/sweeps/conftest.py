"""A tiny model on a bench whose ruler is arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from demask.conditioning import Subject
from demask.generator import Generator
from demask.sweeps.bench import Bench
from demask.sweeps.result import Value
from tiny import tiny_generator


@dataclass
class MeanRuler:
    """Measures how far the pictures' mean is from a number, and their spread."""

    name: str = "mean"
    fingerprint: str = "a"
    target: float = 0.4
    looked: list[tuple[int, ...]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def look(self, pixels_BHWC: Tensor, subjects: Sequence[Subject]) -> Tensor:
        self.looked.append(tuple(pixels_BHWC.shape))
        self.classes += [subject.label for subject in subjects]
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
def ruler() -> MeanRuler:
    return MeanRuler()


@pytest.fixture
def bench(ruler: MeanRuler, tmp_path: Path) -> Bench:
    def load(companions: tuple[str, ...], dtype: str | None) -> Generator:
        assert companions == ()
        generator = tiny_generator()
        if dtype is not None:
            generator.transformer.to(getattr(torch, dtype))  # type: ignore[attr-defined]
        return generator

    return Bench(load, [ruler], tmp_path / "sweep", batch_size=4, command="demask sweep --recipe x")

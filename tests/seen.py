"""Features of images that nobody generated."""

from __future__ import annotations

import torch
from torch import Tensor

from demask.evaluation.features import Features

NAMES = ("dog", "cat", "ship")


def normal(count: int, width: int = 6, seed: int = 0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed_DD = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, width, generator=generator) @ mixed_DD + shift


def seen(count: int, seed: int = 0, shift: float = 0.0, name: str = "tiny") -> Features:
    generator = torch.Generator().manual_seed(seed + 1)
    return Features(
        normal(count, seed=seed, shift=shift),
        name,
        "print",
        (8, 8),
        torch.randn(count, 3, generator=generator),
        torch.randint(3, (count,), generator=generator),
        NAMES,
    )


def everything(count: int) -> Tensor:
    """The one choice that takes all."""
    return torch.ones(1, count, dtype=torch.bool)

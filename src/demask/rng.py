"""Random numbers: one generator per image seed, so an image never depends on its batch mates.

Noise is drawn on the CPU in float64 whatever device the model is on: the same seed gives the same
noise everywhere, and float32 Gumbel noise, cut off in the tail, would lower the temperature.

Shape legend: B batch, R rows (tokens of any image), V codebook.
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

Generators = Sequence[torch.Generator]
MAX_SEED = 2**63 - 1


def image_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per image.

    Raises:
        ValueError: a seed outside [0, 2**63 - 1].
    """
    for seed in seeds:
        check_seed(seed)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def check_seed(seed: object) -> None:
    """Raise a ValueError for a seed that is no whole number in [0, 2**63 - 1]."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise ValueError(f"a seed must be a whole number, not {seed!r}")
    if not 0 <= int(seed) <= MAX_SEED:
        raise ValueError(f"seed {seed} is out of range; valid: 0 to {MAX_SEED}")


def derive(seed: int, *labels: int | str) -> int:
    """A seed for a purpose (a step, an epoch, a worker), independent of the others."""
    text = "/".join(map(str, (seed, *labels)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def uniform(generators: Generators, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1), (B, *shape), float64."""
    return torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])


def normal(generators: Generators, *shape: int) -> Tensor:
    """Standard normal numbers, (B, *shape), float64."""
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in generators])


def gumbel(generators: Generators, *shape: int) -> Tensor:
    """Standard Gumbel noise, (B, *shape), float64."""
    tiny = torch.finfo(torch.float64).tiny
    return -torch.log(-torch.log(uniform(generators, *shape).clamp_min(tiny)))


def categorical(logits_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """Draw one code per row by inverting the cumulative distribution at ``uniform_R``.

    One random number a row instead of V: the draw costs a softmax and a prefix sum.
    """
    return invert(logits_RV.softmax(-1).cumsum(-1), uniform_R)


def invert(cumulative_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """The code of each row at which a cumulative distribution passes ``uniform_R``."""
    total_R = cumulative_RV[:, -1]
    target_R = uniform_R.to(cumulative_RV) * total_R
    # strictly below the total, or rounding could pick a code of probability 0
    target_R = torch.minimum(target_R, torch.nextafter(total_R, torch.zeros_like(total_R)))
    return torch.searchsorted(cumulative_RV, target_R[:, None], right=True)[:, 0]

"""Wrong tokens that look right: what self-guidance learns to smooth away (arXiv 2410.13136, 3.3).

Shape legend: B batch, L tokens, V codebook, R replaced tokens of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from demask import rng
from demask.registry import Table
from demask.training.masking import cosine_ratio

SUBSTITUTIONS: Table[Callable[[Tensor], Tensor]] = Table(
    "substitution",
    {
        "model": lambda logits_RV: logits_RV,
        "uniform": torch.zeros_like,
        "authors": lambda logits_RV: logits_RV.softmax(-1),  # a softmax of which is drawn from
    },
)
"""From the model's logits on a fully hidden grid to those that replacements are drawn from."""


def choose(count: int, tokens: int, fraction: float, generator: torch.Generator) -> Tensor:
    """Which tokens are hidden (0), replaced (1) and left (2), (B, L) int64.

    Hidden are a cosine's part of the tokens, at least one; replaced a fraction of the others, at
    least one where there is any.
    """
    ratio_B = cosine_ratio(count, generator)
    hidden_B = (ratio_B * tokens).round().clamp(1, tokens)
    seen_B = tokens - hidden_B
    replaced_B = torch.minimum((fraction * seen_B).round().clamp_min(1), seen_B)
    order_BL = torch.rand(count, tokens, generator=generator).argsort(-1)
    past_hidden_BL = order_BL >= hidden_B[:, None]
    return past_hidden_BL.long() + (order_BL >= (hidden_B + replaced_B)[:, None]).long()


def others(logits_RV: Tensor, true_R: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from each row that is not its true code (R), int64.

    Args:
        logits_RV: of any device.
        true_R: on the same device.
        generator: on the CPU, so that draws are the same everywhere.
    """
    without_RV = logits_RV.double().scatter(-1, true_R[:, None], -math.inf)
    uniform_R = torch.rand(len(true_R), generator=generator, dtype=torch.float64)
    return rng.categorical(without_RV, uniform_R.to(logits_RV.device))

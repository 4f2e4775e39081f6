"""Plausible wrong tokens, which self-guidance is trained to correct (arXiv 2410.13136, 3.3).

Shape legend: B batch, L tokens, V codebook, C classes, R replaced tokens of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from demask import rng
from demask.registry import Table
from demask.training.masking import cosine_ratio
from demask.transformer.feature_selection import Base
from demask.types import Condition, Step, TokenLayout

USUAL_STEPS = 64
"""The number of steps that is assumed for models that read the step."""
MOST_KNOWN = 2**28
"""The most logits of fully masked grids that are cached: half a gigabyte in float16."""

SUBSTITUTIONS: Table[Callable[[Tensor], Tensor]] = Table(
    "substitution",
    {
        "model": lambda logits_RV: logits_RV,
        "uniform": torch.zeros_like,
        "authors": lambda logits_RV: logits_RV.softmax(-1),  # the authors apply softmax twice
    },
)
"""The model's logits on a fully masked grid -> the logits from which replacements are drawn."""


def choose(count: int, tokens: int, fraction: float, generator: torch.Generator) -> Tensor:
    """Which tokens are masked (0), replaced (1) and unchanged (2), (B, L) int64.

    The mask ratio has the cosine distribution. At least one token is masked, and at least one of
    the others is replaced, if there is one.
    """
    ratio_B = cosine_ratio(count, generator)
    num_masked_B = (ratio_B * tokens).round().clamp(1, tokens)
    seen_B = tokens - num_masked_B
    replaced_B = torch.minimum((fraction * seen_B).round().clamp_min(1), seen_B)
    order_BL = torch.rand(count, tokens, generator=generator).argsort(-1)
    past_masked_BL = order_BL >= num_masked_B[:, None]
    return past_masked_BL.long() + (order_BL >= (num_masked_B + replaced_B)[:, None]).long()


def others(logits_RV: Tensor, true_R: Tensor, generator: torch.Generator) -> Tensor:
    """A code from each row's distribution without the true code, (R) int64.

    Args:
        logits_RV: logits, on any device.
        true_R: the true codes, on the same device.
        generator: random generator on the CPU, so that draws do not depend on the device.
    """
    without_RV = logits_RV.double().scatter(-1, true_R[:, None], -math.inf)
    uniform_R = torch.rand(len(true_R), generator=generator, dtype=torch.float64)
    return rng.categorical(without_RV, uniform_R.to(logits_RV.device))


def step_of(masked_BL: Tensor, layout: TokenLayout) -> Step:
    """The step at which a cosine schedule has the batch's mean mask ratio."""
    ratio_B = masked_BL.double().mean(-1)
    progress = math.acos(min(float(ratio_B.mean()), 1.0)) * 2 / math.pi
    return Step(min(int(progress * USUAL_STEPS), USUAL_STEPS - 1), USUAL_STEPS, layout, ratio_B)


@dataclass
class Corruption:
    """Masks some tokens and replaces others by wrong ones.

    Attributes:
        network: the frozen model.
        substitution: a row of `SUBSTITUTIONS`.
        replaced: the fraction of the visible tokens that is replaced.
        known_CLV: cached predictions for a fully masked grid of each class.
    """

    network: nn.Module
    substitution: str
    replaced: float
    known_CLV: Tensor | None = field(default=None, init=False)

    @property
    def base(self) -> Base:
        """The frozen model, with its protocol."""
        return cast(Base, self.network)

    def __call__(
        self, true_BL: Tensor, condition: Condition, layout: TokenLayout, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The input ids, and where they are wrong (B, L).

        Args:
            true_BL: the true ids, on the device of the model.
            condition: the condition of the images.
            layout: of the ids.
            generator: random generator on the CPU.
        """
        count, tokens = true_BL.shape
        kind_BL = choose(count, tokens, self.replaced, generator).to(true_BL.device)
        replaced_BL = kind_BL == 1
        seen_BL = torch.where(kind_BL == 0, self.base.mask_id, true_BL)
        if self.substitution == "uniform":
            said_RV = torch.zeros(int(replaced_BL.sum()), self.base.codebook_size)
            said_RV = said_RV.to(true_BL.device)
        else:
            said_RV = self.prior(condition, layout, true_BL.device)[replaced_BL]
        logits_RV = SUBSTITUTIONS[self.substitution](said_RV)
        seen_BL[replaced_BL] = others(logits_RV, true_BL[replaced_BL], generator)
        return seen_BL, replaced_BL

    @torch.no_grad()
    def prior(self, condition: Condition, layout: TokenLayout, device: torch.device) -> Tensor:
        """Predictions for fully masked grids (B, L, V); cached if they are small."""
        classes, tokens = self.base.feature_selection().num_classes, layout.tokens
        if not 0 < classes * tokens * self.base.codebook_size <= MOST_KNOWN:
            return self.on_fully_masked(condition, layout, device)
        if self.known_CLV is None:
            parts = torch.arange(classes, device=device).split(64)
            every = [Condition({"class_ids": part}) for part in parts]
            self.known_CLV = torch.cat(
                [self.on_fully_masked(c, layout, device).half() for c in every]
            )
        return self.known_CLV[condition["class_ids"]].float()

    def on_fully_masked(
        self, condition: Condition, layout: TokenLayout, device: torch.device
    ) -> Tensor:
        """Predictions for fully masked grids (B, L, V)."""
        size = (len(condition), layout.tokens)
        ids_BL = torch.full(size, self.base.mask_id, device=device)
        return self.base.predict(ids_BL, condition, step_of(ids_BL >= 0, layout)).logits_BLV

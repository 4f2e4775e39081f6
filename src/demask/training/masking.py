"""Training inputs of masked models: masked tokens, and visible ones that are replaced.

Shape legend: B batch, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from demask.registry import Table


def cosine_ratio(count: int, generator: torch.Generator) -> Tensor:
    """cos(pi/2 u): MaskGIT (arXiv 2202.04200)."""
    return torch.cos(math.pi / 2 * torch.rand(count, generator=generator))


def arccos_ratio(count: int, generator: torch.Generator) -> Tensor:
    """2/pi arccos(u): as in Halton MaskGIT (arXiv 2503.17076)."""
    return torch.arccos(torch.rand(count, generator=generator)) * (2 / math.pi)


def uniform_ratio(count: int, generator: torch.Generator) -> Tensor:
    """Uniform: all mask ratios are equally likely."""
    return torch.rand(count, generator=generator)


def mixed_ratio(count: int, generator: torch.Generator) -> Tensor:
    """70 % arccos, 30 % Beta(12, 3): more high mask ratios, at which the layout is decided."""
    # Beta(12, 3) is the 12th smallest of 14 uniform numbers
    beta = torch.rand(count, 14, generator=generator).sort(-1).values[:, 11]
    pick = torch.rand(count, generator=generator) < 0.7
    return torch.where(pick, arccos_ratio(count, generator), beta)


MASK_RATIOS: Table[Callable[[int, torch.Generator], Tensor]] = Table(
    "mask ratio",
    {
        "cosine": cosine_ratio,
        "arccos": arccos_ratio,
        "uniform": uniform_ratio,
        "mixed": mixed_ratio,
    },
)


@dataclass(frozen=True)
class Masking:
    """How images are masked in training.

    Attributes:
        ratio: the distribution of the masked fraction, a row of `MASK_RATIOS`.
        complementary: whether every image is used twice, with complementary masks.
        corruption: the largest fraction of visible tokens that are replaced by random codes, drawn
            uniformly per image, so that predictions at visible tokens are trained, too.
        visible_weight: loss weight of visible tokens; that of masked tokens is 1.
        independent: mask every token with the drawn fraction as its probability, so that the number
            of masked tokens varies (arXiv 2310.14400, 2503.17076); otherwise their number is exact.
    """

    ratio: str = "mixed"
    complementary: bool = False
    corruption: float = 0.15
    visible_weight: float = 0.1
    independent: bool = False

    def __post_init__(self) -> None:
        MASK_RATIOS[self.ratio]
        if not 0 <= self.corruption <= 1:
            raise ValueError(f"corruption must be within 0 and 1, not {self.corruption}")


def drop_classes(
    class_ids_B: Tensor, null_class: int | None, rate: float, generator: torch.Generator
) -> Tensor:
    """Class ids, some replaced by the null class; unchanged for a model without one."""
    dropped_B = torch.rand(class_ids_B.shape, generator=generator) < rate
    return class_ids_B if null_class is None else torch.where(dropped_B, null_class, class_ids_B)


@dataclass(frozen=True)
class Masked:
    """A training batch: the input ids, the true ids and the loss weight of each token."""

    input_BL: Tensor
    target_BL: Tensor
    weight_BL: Tensor
    masked_BL: Tensor


def mask_tokens(
    ids_BL: Tensor, masking: Masking, codebook_size: int, mask_id: int, generator: torch.Generator
) -> Masked:
    """Mask at least one token of each image, and corrupt some visible tokens.

    With ``independent`` it may be none. With ``complementary`` the batch doubles: the second half
    has the complementary masks.
    """
    count, tokens = ids_BL.shape
    ratio_B = MASK_RATIOS[masking.ratio](count, generator)
    num_masked_B = (ratio_B * tokens).ceil().clamp(1, tokens)
    chance_BL = torch.rand(count, tokens, generator=generator)
    if masking.independent:
        masked_BL = chance_BL < ratio_B[:, None]
    else:
        masked_BL = chance_BL.argsort(-1) < num_masked_B[:, None]
    if masking.complementary:
        # the complement of a fully masked grid would mask nothing: mask it fully again
        other_BL = ~masked_BL | masked_BL.all(-1, keepdim=True)
        masked_BL, ids_BL = torch.cat([masked_BL, other_BL]), ids_BL.repeat(2, 1)
    wrong_BL = torch.randint(0, codebook_size, ids_BL.shape, generator=generator)
    corruption_B1 = masking.corruption * torch.rand(len(ids_BL), 1, generator=generator)
    corrupt_BL = torch.rand(ids_BL.shape, generator=generator) < corruption_B1
    input_BL = torch.where(corrupt_BL, wrong_BL, ids_BL)
    return Masked(
        input_BL=torch.where(masked_BL, mask_id, input_BL),
        target_BL=ids_BL,
        weight_BL=torch.where(masked_BL, 1.0, masking.visible_weight),
        masked_BL=masked_BL,
    )

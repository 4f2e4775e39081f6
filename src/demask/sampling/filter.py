"""Logit filters: top-k and top-p (nucleus) sampling.

Shape legend: R rows, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Filter:
    """Top-k, then top-p (nucleus sampling, arXiv 1904.09751); the defaults filter nothing.

    Codes that tie with the last one kept are kept too, so the result does not depend on the sort
    order of ties. The most likely code is always kept.

    Attributes:
        top_k: number of codes to keep; 0 keeps all.
        top_p: total probability that the kept codes must reach, in (0, 1].

    Raises:
        ValueError: a value out of range.
    """

    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ValueError(f"top_k is 0 (off) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is above 0 and at most 1 (off), not {self.top_p}")

    def __call__(self, logits_RV: Tensor) -> Tensor:
        """The logits (R, V) with -inf at the codes that are filtered out."""
        if 0 < self.top_k < logits_RV.shape[-1]:
            least_R1 = logits_RV.topk(self.top_k).values[:, -1:]
            logits_RV = logits_RV.masked_fill(logits_RV < least_R1, -torch.inf)
        if self.top_p < 1:
            sorted_RV = logits_RV.sort(descending=True).values
            p_RV = sorted_RV.softmax(-1)
            needed_R1 = (p_RV.cumsum(-1) - p_RV < self.top_p).sum(-1, keepdim=True)
            needed_R1 = needed_R1.clamp_min(1)  # a tiny top_p underflows to 0 in float32
            least_R1 = sorted_RV.gather(-1, needed_R1 - 1)
            logits_RV = logits_RV.masked_fill(logits_RV < least_R1, -torch.inf)
        return logits_RV

"""Momentum: extrapolate the change of a token's logits since the previous step.

Shape legend: B batch, L tokens, V codebook, R rows (the tokens that are masked in both steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from demask.registry import unknown
from demask.sampling.context import DecodeContext
from demask.sampling.correction.correction import Correction
from demask.types import DecodeState


@dataclass(frozen=True)
class Momentum(Correction):
    """l' = l_k + beta (l_k - l_{k-1}) at tokens that were also masked in the previous step.

    Our interpretation of the momentum-based solver of arXiv 2411.10781, which gives no formula.
    l_{k-1} is the guided prediction of the previous step, before corrections.

    Attributes:
        beta: the factor; 0 is off; below 1 for ``average``.
        variant: ``extrapolate``, as above, or ``average``: l'_k = (1 - beta) l_k + beta l'_{k-1},
            an exponential average; l'_{k-1} are the logits that the previous step sampled from.

    Raises:
        ValueError: a number out of range or an unknown variant.
    """

    beta: float = 0.3
    variant: str = "extrapolate"
    strength_field: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        if self.variant not in ("extrapolate", "average"):
            raise ValueError(unknown("variant", self.variant, ("extrapolate", "average")))
        if not self.beta >= 0:
            raise ValueError(f"beta is 0 (off) or more, not {self.beta}")
        if self.variant == "average" and self.beta >= 1:
            raise ValueError(f"the beta of an average is below 1, not {self.beta}")

    def required_positions(self, state: DecodeState) -> Tensor:
        return state.masked_BL if self.beta else super().required_positions(state)

    def adjust(self, logits_BLV: Tensor, state: DecodeState, context: DecodeContext) -> Tensor:
        averages = self.variant == "average"
        past_BLV = state.logits_BLV if averages else state.guided_BLV
        if not self.beta or past_BLV is None:
            return logits_BLV
        assert state.queried_BL is not None, "a step was made"
        both_BL = state.masked_BL & state.queried_BL
        now_RV, past_RV = logits_BLV[both_BL], past_BLV[both_BL].to(logits_BLV)
        # -inf logits have no finite change: treat it as 0
        change_RV = (now_RV - past_RV).nan_to_num(0, 0, 0)
        moved_BLV = logits_BLV.clone()
        moved_BLV[both_BL] += (-self.beta if averages else self.beta) * change_RV
        return moved_BLV

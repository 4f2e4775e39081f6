"""Spatial guidance: the reference is the model's prediction on blurred tokens.

Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from demask.guidance.blur import Latents, blur_tokens
from demask.guidance.guidance import Guidance, GuidanceProvider, PredictWithAttention
from demask.guidance.scale import Scale
from demask.layouts import PLAIN_GRIDS, Layouts
from demask.types import Condition, Grid, Predict, Prediction, Step

BlurTokens = Callable[[Tensor, Grid, float], Tensor]
"""``(ids_BL, grid, sigma) -> ids_BL``: the tokens of a blurred image; masked ones stay masked."""


@dataclass(frozen=True)
class Spatial(Guidance):
    """l_b + s (l - l_b), where l_b is the model's prediction on blurred tokens.

    Self-attention guidance (SAG, arXiv 2210.00939, section 4.2) on tokens: the latents of visible
    tokens that receive much attention are blurred and quantised again. The paper writes
    l_b + (1 + w) (l - l_b): s = 1 + w.

    An image whose tokens are all masked or do not change by blurring is its own reference; a batch
    of such images needs no second pass.

    Attributes:
        predict: the model.
        scale: s in each step.
        blur: blurs tokens.
        predict_with_attention: the model's prediction with received attention; None blurs all
            tokens.
        sigma: standard deviation of the Gaussian, in tokens.
        threshold: blur tokens whose received attention exceeds this multiple of the mean (the
            paper's psi); None blurs all tokens.

    Raises:
        ValueError: sigma is not positive.
    """

    predict: Predict
    scale: Scale
    blur: BlurTokens
    predict_with_attention: PredictWithAttention | None = None
    sigma: float = 1.0
    threshold: float | None = 1.0
    layouts: ClassVar[Layouts] = PLAIN_GRIDS
    passes: ClassVar[tuple[str, ...]] = ("predict", "predict_with_attention")

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma is above 0, not {self.sigma}")

    def predict_pair(
        self, ids_BL: Tensor, condition: Condition, step: Step
    ) -> tuple[Prediction, Tensor]:
        """The model's prediction, and the logits (B, L, V) on blurred tokens."""
        blurred_BL = self.blur(ids_BL, step.layout.grid, self.sigma)
        if self.predict_with_attention is None or self.threshold is None:
            conditional = self.predict(ids_BL, condition, step)
        else:
            conditional, attention_BL = self.predict_with_attention(ids_BL, condition, step)
            blurred_BL = torch.where(attention_BL > self.threshold, blurred_BL, ids_BL)
        changed_B = (blurred_BL != ids_BL).any(-1)
        if not changed_B.any():
            return conditional, conditional.logits_BLV
        # unnamed pass: it depends on the whole batch, so accelerators must not cache it
        blurred = replace(step, pass_names=())
        reference_BLV = self.predict(blurred_BL, condition, blurred).logits_BLV
        # independent of the other images of the batch
        changed_B11 = changed_B[:, None, None]
        return conditional, torch.where(changed_B11, reference_BLV, conditional.logits_BLV)

    @classmethod
    def from_provider(cls, provider: GuidanceProvider) -> dict[str, Any]:
        """The blur of the tokenizer's latents, and the model's attention if it reports it."""
        return {
            "blur": partial(blur_tokens, cast(Latents, provider.tokenizer)),
            "predict_with_attention": provider.predict_with_attention(),
        }

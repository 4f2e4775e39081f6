"""Guidance before the output matrix: what a batch does, where an image alone guides its logits.

Classifier-free guidance is linear, and so is a transformer's last matrix: they may change places.
The matrix then reads every token once instead of twice, and what guidance moves is as wide as the
transformer instead of its codebook; and only the tokens that are drawn need it. The rounding alone
differs, for which `demask.batching.invariance` looks out in any case.

Shape legend: B batch, L tokens, R rows (tokens of any image), V codebook, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from demask.generator import Generator
from demask.settings import Settings
from demask.transformer.protocols import SupportsPreLogits, supports
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class PreLogitsModel:
    """A transformer whose "logits" are what its output matrix would read (B, L, D)."""

    transformer: Any

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """A `Predict` of states."""
        return Prediction(self.transformer.pre_logits(ids_BL, condition, step))

    def __getattr__(self, name: str) -> Any:
        """What else the transformer has, such as its condition for anything."""
        return getattr(self.transformer, name)


ToLogits = Callable[[Tensor], Tensor]
"""States (R, D) -> logits (R, V)."""


def fused_predictor(generator: Generator, settings: Settings) -> tuple[Predict, ToLogits]:
    """The predictor of several images, and what makes logits of its predictions.

    Together they are `Generator.guided`, up to rounding, and faster where that can be.
    """
    transformer: Any = generator.transformer
    swaps = settings.guidance_scale != 1 and settings.guidance_method == "classifier_free"
    if not (swaps and supports(transformer, SupportsPreLogits)):
        return generator.guided(settings), identity
    states: Any = PreLogitsModel(transformer)
    return replace(generator, transformer=states).guided(settings), transformer.to_logits


def identity(logits: Tensor) -> Tensor:
    """Logits as they are."""
    return logits

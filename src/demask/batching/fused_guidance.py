"""Classifier-free guidance before the output matrix instead of on the logits.

Guidance is linear, and so is the last matrix of a transformer, so they can be exchanged. The matrix
then reads every token once instead of twice, guidance works on vectors of the transformer's width
instead of the codebook's size, and logits are computed only at the positions that are drawn. Only
the rounding differs, which `demask.batching.invariance` accounts for.

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
    """A transformer whose "logits" are the vectors that its output matrix reads (B, L, D)."""

    transformer: Any

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The pre-logits, as a `Predict`."""
        return Prediction(self.transformer.pre_logits(ids_BL, condition, step))

    def __getattr__(self, name: str) -> Any:
        """All other attributes of the transformer."""
        return getattr(self.transformer, name)


ToLogits = Callable[[Tensor], Tensor]
"""Rows of a prediction, pre-logits (R, D) or logits (R, V) -> logits (R, V)."""


def fused_predictor(generator: Generator, settings: Settings) -> tuple[Predict, ToLogits]:
    """The predictor for several images, and the function that turns its predictions into logits.

    Applied in turn they equal `Generator.guided`, up to rounding, and are faster where the
    transformer and the guidance allow it. Accelerators look into the transformer itself.
    """
    transformer: Any = generator.transformer
    guided = settings.guidance_scale != 1 and settings.guidance_method == "classifier_free"
    fuses = guided and not settings.accelerators
    if not (fuses and supports(transformer, SupportsPreLogits)):
        return generator.guided(settings), identity
    pre_logits: Any = PreLogitsModel(transformer)
    return replace(generator, transformer=pre_logits).guided(settings), transformer.to_logits


def identity(logits: Tensor) -> Tensor:
    """Return the logits unchanged."""
    return logits

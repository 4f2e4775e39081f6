"""Guidance before the output matrix: what a batch does, where a picture alone guides its logits.

Classifier-free guidance is linear, and so is a transformer's last matrix: they may change places.
The matrix then reads every token once instead of twice, and what guidance moves is as wide as the
transformer instead of its codebook; and only the tokens that are drawn need it. The rounding alone
differs, for which `demask.server.steady` looks out in any case.

Shape legend: B batch, L tokens, R rows (tokens of any picture), V codebook, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from demask.generator import Generator
from demask.settings import Settings
from demask.types import Condition, Predict, Prediction, Step


@dataclass(frozen=True)
class States:
    """A transformer whose "logits" are what its output matrix would read (B, L, D)."""

    transformer: Any

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """A `Predict` of states."""
        return Prediction(self.transformer.before_codes(ids_BL, condition, step))

    def __getattr__(self, name: str) -> Any:
        """What else the transformer has, such as its condition for anything."""
        return getattr(self.transformer, name)


Codes = Callable[[Tensor], Tensor]
"""States (R, D) -> logits (R, V)."""


def of_batches(generator: Generator, settings: Settings) -> tuple[Predict, Codes]:
    """The predictor of several pictures, and what makes logits of its predictions.

    Together they are `Generator.guided`, up to rounding, and faster where that can be.
    """
    transformer: Any = generator.transformer
    swaps = settings.guidance != 1 and settings.guidance_method == "classifier_free"
    if not (swaps and hasattr(transformer, "before_codes")):
        return generator.guided(settings), same
    states: Any = States(transformer)
    return replace(generator, transformer=states).guided(settings), transformer.codes


def same(logits: Tensor) -> Tensor:
    """Logits as they are."""
    return logits

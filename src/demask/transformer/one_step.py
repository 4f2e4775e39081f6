"""Predictions of one-step generators: the transformer's own, on changed embeddings.

Shape legend: B batch, L tokens, D width of the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from demask.transformer.hooks import PassHooks
from demask.types import Condition, Prediction, Step


class ChangedEmbeddings(PassHooks):
    """Hooks of a pass that only change the embeddings of the image's tokens."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.change = change

    def change_embeddings(self, x_BLD: Tensor) -> Tensor:
        return self.change(x_BLD)


class FromNoise:
    """What `demask.sampling.start.OneStep` requires of a transformer, for those with hooks.

    Published one-step generators (Di[M]O, arXiv 2503.15457) have the layouts of such transformers.
    """

    predict: Any

    def predict_from_noise(
        self,
        ids_BL: Tensor,
        condition: Condition,
        step: Step,
        change: Callable[[Tensor], Tensor],
    ) -> Prediction:
        """The prediction with ``change`` applied to the embeddings (B, L, D) of the ids."""
        prediction: Prediction = self.predict(ids_BL, condition, step, ChangedEmbeddings(change))
        return prediction

"""The recorded noise of a published program, in place of the random numbers of the decode loop.

Shape legend: B batch, L tokens, T steps, V vocabulary of the program, K codebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler
from demask.types import Condition, DecodeState, Predict, Prediction, Step


@dataclass
class Recorded:
    """Replays a run: codes are arg max(log p + noise), as the program's draws were recorded.

    Attributes:
        sample_TBLV: Gumbel noise of the draws.
        choice_TBL: Gumbel noise of the order, for one that has any.
        step: the step that is being made.
        seen_BL: the ids that the model was given in it.
    """

    sample_TBLV: Tensor
    choice_TBL: Tensor | None = None
    step: int = 0
    seen_BL: Tensor = field(default_factory=lambda: torch.empty(0))

    def uniform(self, generators: rng.Generators, *shape: int) -> Tensor:
        """In place of random numbers: the place of each token in the batch."""
        (length,) = shape
        return torch.arange(len(generators) * length, dtype=torch.float64).view(-1, length)

    def gumbel(self, generators: rng.Generators, *shape: int) -> Tensor:
        """The order's noise in this step."""
        assert self.choice_TBL is not None, "the order of this run takes no noise"
        return self.choice_TBL[self.step].double()

    def categorical(self, logits_RK: Tensor, place_R: Tensor) -> Tensor:
        """The codes of the program's draws."""
        noise_NV = self.sample_TBLV[self.step].flatten(0, 1).double()
        noise_RK = noise_NV[place_R.long(), : logits_RK.shape[-1]]
        return (logits_RK.double().log_softmax(-1) + noise_RK).argmax(-1)

    def replay(
        self,
        predict: Predict,
        condition: Condition,
        canvas: Canvas,
        sampler: Sampler,
        monkeypatch: pytest.MonkeyPatch,
        first: int = 0,
    ) -> Iterator[tuple[Tensor, DecodeState]]:
        """The ids before each step, and the state after it, of our own decode loop."""

        def watched(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
            self.step, self.seen_BL = step.index, ids_BL
            return predict(ids_BL, condition, step)

        for name in ("uniform", "gumbel", "categorical"):
            monkeypatch.setattr(rng, name, getattr(self, name))
        generators = rng.image_generators(range(len(canvas.ids_BL)))
        for state in decode(watched, condition, canvas, generators, sampler, first):
            yield self.seen_BL, state

"""What the first step reads: a grid of masked tokens, or the noise of a one-step generator.

Shape legend: B batch, L tokens, D width of the embeddings.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from demask import rng
from demask.registry import Table, build
from demask.types import Condition, Predict, Prediction, Step, Transformer

PredictFromNoise = Callable[[Tensor, Condition, Step, Callable[[Tensor], Tensor]], Prediction]
"""As `Predict`, with a function that changes the embeddings (B, L, D) of the ids."""


class Start(ABC):
    """A frozen dataclass and a row of `STARTS`.

    Attributes:
        one_pass: the loop is one step, without guidance, corrections and accelerators, and passes
            its random generators to the model (`Step.generators`).
    """

    one_pass: ClassVar[bool] = False

    @abstractmethod
    def around(self, transformer: Transformer) -> Predict:
        """The prediction of a transformer for a partly masked grid.

        Raises:
            ValueError: the transformer cannot start like this.
        """


@dataclass(frozen=True)
class Masked(Start):
    """The tokens as they are, masked or decoded: the transformer's own prediction."""

    def around(self, transformer: Transformer) -> Predict:
        return transformer.predict


@dataclass(frozen=True)
class OneStep(Start):
    """The input of a one-step generator distilled by Di[M]O (arXiv 2503.15457).

    Random codes, a part of them masked; normal noise on the embeddings of the image's tokens; a
    time condition of 0. All tokens are drawn from one forward pass. Weights that were not distilled
    in this way do not know such an input.

    Attributes:
        ratio: the fraction of the tokens that is masked, an exact count in each image.
        noise: s; an embedding e becomes sqrt(1 - s^2) e + s times normal noise.

    Raises:
        ValueError: a number outside [0, 1].
    """

    ratio: float = 0.6
    noise: float = 0.1
    one_pass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("ratio", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"one_step: {name} is from 0 to 1, not {getattr(self, name)}")

    def around(self, transformer: Transformer) -> Predict:
        from_noise: PredictFromNoise | None = getattr(transformer, "predict_from_noise", None)
        if from_noise is None:
            name = type(transformer).__name__
            raise ValueError(f"one_step needs a Meissonic or MaskGITV1 transformer, not {name}")
        codes, mask_id = transformer.codebook_size, transformer.mask_id

        def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
            generators = step.generators
            assert generators is not None, "the loop passes them"
            ids_BL = self.randomized(ids_BL, ids_BL == mask_id, codes, generators)
            step = replace(step, mask_ratio_B=torch.zeros_like(step.mask_ratio_B))

            def noisy(x_BLD: Tensor) -> Tensor:
                normal_BLD = rng.normal(generators, *x_BLD.shape[1:]).to(x_BLD)
                return math.sqrt(1 - self.noise**2) * x_BLD + self.noise * normal_BLD

            return from_noise(ids_BL, condition, step, noisy)

        return predict

    def randomized(
        self, ids_BL: Tensor, masked_BL: Tensor, codes: int, generators: rng.Generators
    ) -> Tensor:
        """The ids with a random code at all masked positions but round(ratio N) of the N."""
        code_BL, chance_BL = (
            rng.uniform(generators, ids_BL.shape[1]).to(ids_BL.device) for _ in range(2)
        )
        rank_BL = chance_BL.masked_fill(~masked_BL, 2.0).argsort(-1).argsort(-1)
        left_B = (self.ratio * masked_BL.sum(-1).double()).round()
        random_BL = masked_BL & (rank_BL >= left_B[:, None])
        return torch.where(random_BL, (code_BL * codes).long(), ids_BL)


STARTS: Table[Callable[..., Start]] = Table("start", {"masked": Masked, "one_step": OneStep})


def parse_start(text: str) -> Start:
    """Parse a start: ``masked``, ``one_step`` or ``one_step:ratio=0.6,noise=0.1``.

    Raises:
        ValueError: an unknown name or option, or a number out of range.
    """
    return build(STARTS, text)

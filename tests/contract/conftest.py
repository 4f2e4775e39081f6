"""A tiny deterministic model, and a canvas of images that have different amounts to generate.

Shape legend: B batch, L tokens, V codebook, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from demask.guidance import Constant, parse_guidance
from demask.sampling.edit import Canvas, keep
from demask.sampling.sampler import Sampler
from demask.types import Condition, Predict, Prediction, Step
from provider import Network, Offered

GRID = (4, 4)
CODES = 6
MASK = 7
CLASSES = 5


@dataclass(frozen=True)
class Toy:
    """A float64 model in which every token sees its class, all other tokens and the mask ratio."""

    words_VD: Tensor
    places_LD: Tensor
    classes_CD: Tensor
    head_DV: Tensor

    @classmethod
    def make(cls) -> Toy:
        g = torch.Generator().manual_seed(3)
        sizes = ((MASK + 1, 8), (16, 8), (CLASSES + 1, 8), (8, CODES))
        return cls(*(torch.randn(size, generator=g, dtype=torch.float64) for size in sizes))

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        words_BLD = self.words_VD[ids_BL]
        class_B1D = self.classes_CD[condition["class_ids"]][:, None]
        context_B1D = words_BLD.mean(1, keepdim=True) + class_B1D
        hidden_BLD = (words_BLD + self.places_LD + 2 * context_B1D).tanh()
        hidden_BLD = hidden_BLD * (1 + step.mask_ratio_B[:, None, None])
        # not a matrix product: its rounding could depend on the size of the batch
        logits_BLV = (hidden_BLD[..., None] * self.head_DV).sum(-2)
        return Prediction(logits_BLV, hidden_BLD)


@pytest.fixture(scope="session")
def toy() -> Predict:
    return Toy.make()


@pytest.fixture
def condition() -> Condition:
    return Condition({"class_ids": torch.arange(CLASSES)})


@pytest.fixture
def canvas() -> Canvas:
    """Five images with 16, 9, 3, 0 and 1 tokens to generate."""
    ids_BHW = torch.arange(5 * 16).view(5, 4, 4) % CODES
    known_BL = torch.ones(5, 16, dtype=torch.bool)
    known_BL[0] = False
    known_BL[1, 2:11] = False
    known_BL[2, [0, 7, 15]] = False
    known_BL[4, 5] = False
    return keep(ids_BHW, known_BL.view(5, 4, 4), MASK)


Guide = Callable[[str, Predict, float], Predict]


@dataclass(frozen=True)
class ToyTokenizer:
    """A tokenizer whose codes are random latents."""

    codes_VC: Tensor
    codebook_size: int = CODES

    def latents(self, ids_BHW: Tensor) -> Tensor:
        return self.codes_VC[ids_BHW].movedim(-1, 1)

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        off_BHWVC = latents_BCHW.movedim(1, -1)[..., None, :] - self.codes_VC
        return off_BHWVC.square().sum(-1).argmin(-1)


@dataclass(frozen=True)
class ToyModule:
    """A self-guidance module: the prediction from the mean feature of the image."""

    toy: Toy

    def smoothed_logits(self, base, features: Tensor, condition: Condition, step: Step) -> Tensor:
        mean_B1D1 = features.mean(1, keepdim=True)[..., None]
        return (mean_B1D1 * self.toy.head_DV).sum(-2).expand(-1, 16, -1)


@pytest.fixture(scope="session")
def guide(toy: Toy) -> Guide:
    """``guide(name, predict, scale)``: a row of the table around the toy model.

    A new guidance needs no line here: it takes what it needs from the provider. One that needs an
    auxiliary network of a new kind gets a toy of it.
    """

    def weaker(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        prediction = toy(ids_BL, condition, step)
        return Prediction(prediction.logits_BLV.roll(1, -1) / 2)

    latents_VC = torch.randn(CODES, 3, generator=torch.Generator().manual_seed(4))
    provider = Offered(
        tokenizer=ToyTokenizer(latents_VC),
        nothing=Condition({"class_ids": torch.tensor([CLASSES])}),
        networks={"self_guidance": ToyModule(toy), "weaker": Network(weaker)},
    )

    def make(name: str, predict: Predict, scale: float) -> Predict:
        offered = replace(provider, transformer=Network(predict))
        return parse_guidance(name, predict, Constant(scale), offered)

    return make


Model = Callable[[Sampler], Predict]


@pytest.fixture(scope="session")
def model(toy: Toy, guide: Guide) -> Model:
    """``model(sampler)``: the toy, under guidance where a correction of the sampler needs it."""
    guided = guide("classifier_free", toy, 3.0)
    return lambda sampler: guided if any(c.needs_guidance for c in sampler.corrections) else toy

"""Our decode loop makes the tokens of aMUSEd's recorded runs, step by step, from their noise.

Shape legend: B batch, T steps, L tokens, V codebook, R rows (the masked tokens of all images).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import demask
from demask import rng
from demask.generator import Generator
from demask.guidance import ClassifierFree, Constant
from demask.sampling.decode import decode
from demask.sampling.edit import Canvas, blank, keep, token_mask
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import parse_schedule
from demask.sampling.select import Confidence, SelectionInput
from demask.sampling.select.order import Stage
from demask.sampling.temperature import Temperature
from demask.types import Predict

Case = dict[str, Tensor]
PROMPTS, NEGATIVES = ["the red apple", "blue"], ["", "re"]
SIZE = {"height": 24, "width": 32}


@dataclass(frozen=True)
class Recorded(Confidence):
    """The order by confidence with recorded noise; its draw is argmax(log p + noise).

    Attributes:
        sample_TBLV: Gumbel noise of the draws.
        confidence_TBL: Gumbel noise of the confidence; none in the last step.
        first: index of the first recorded step.
        now: the input of the current step.
    """

    sample_TBLV: Tensor = field(default_factory=lambda: torch.zeros(0))
    confidence_TBL: Tensor = field(default_factory=lambda: torch.zeros(0))
    first: int = 0
    now: list[SelectionInput] = field(default_factory=list)
    can_share: ClassVar[bool] = False

    def select_at(self, stage: Stage, selection: SelectionInput) -> SelectionInput:
        self.now[:] = [selection]
        return super().select_at(stage, selection)

    def transform_logits(self, logits_RV: Tensor) -> Tensor:
        (selection,) = self.now
        noise_BLV = self.sample_TBLV[selection.step.index - self.first]
        return logits_RV.log_softmax(-1) + noise_BLV[selection.candidate_BL]

    def select_by_log_p(self, selection: SelectionInput, log_p_R: Tensor) -> Tensor:
        k = selection.step.index
        score_BL = selection.scatter(log_p_R, 0)
        if k + 1 < selection.step.steps:
            tau = self.choice_temperature.at(selection.step)
            score_BL = score_BL + tau * self.confidence_TBL[k - self.first]
        return selection.top(score_BL)


@pytest.fixture(scope="module")
def generator(golden: Path) -> Generator:
    return demask.load(str(golden / "amused"), device="cpu")


@pytest.fixture(scope="module")
def cases(golden: Path) -> Case:
    return {
        **load_file(golden / "amused" / "case.safetensors"),
        **load_file(golden / "amused_edit" / "case.safetensors"),
    }


def recorded(cases: Case, run: str, steps: int, tau: Temperature, schedule: str) -> Sampler:
    noise_TBLV = cases[f"{run}.sample_gumbel"].float()
    order = Recorded(
        tau,
        sample_TBLV=noise_TBLV,
        confidence_TBL=cases[f"{run}.confidence_gumbel"].float(),
        first=steps - len(noise_TBLV),
    )
    return Sampler(steps, parse_schedule(schedule), order, temperature=Temperature(0))


def guided(generator: Generator, scale: float, micro: str = "") -> tuple[Predict, ...]:
    settings = generator.settings.updated(**SIZE, micro_conditions=micro)
    condition, negative = (generator.condition(texts, settings) for texts in (PROMPTS, NEGATIVES))
    return ClassifierFree(generator.transformer.predict, negative, Constant(scale)), condition


def check(generator: Generator, cases: Case, run: str, states: list) -> None:
    """The tokens after every step, and the image."""
    theirs = cases[f"{run}.tokens_after"].flatten(2)
    ours = torch.stack([state.ids_BL for state in states])
    assert torch.equal(ours, theirs)
    image_BCHW = generator.tokenizer.decode(
        states[-1].ids_BL.view(cases[f"{run}.tokens_after"][0].shape)
    )
    wanted_BCHW = cases[f"{run}.image"]
    assert float((image_BCHW - wanted_BCHW).norm() / wanted_BCHW.norm()) < 1e-4


@pytest.mark.parametrize(
    ("run", "steps", "scale", "tau", "micro"),
    [
        ("text_to_image", 5, 10.0, Temperature(2.0, "endpoints"), ""),
        (
            "no_guidance",
            3,
            1.0,
            Temperature(1.5, f"line:{0.01 / 1.5}"),
            "score=5,crop_top=3,crop_left=9",
        ),
    ],
)
@torch.inference_mode()
def test_text_to_image(
    generator: Generator,
    cases: Case,
    run: str,
    steps: int,
    scale: float,
    tau: Temperature,
    micro: str,
) -> None:
    grid = cases[f"{run}.tokens_before"].shape[2:]
    canvas = blank(2, (grid[0], grid[1]), generator.transformer.mask_id)
    predict, condition = guided(generator, scale, micro)
    sampler = recorded(cases, run, steps, tau, "cosine")
    states = list(decode(predict, condition, canvas, rng.image_generators([0, 1]), sampler))
    check(generator, cases, run, states)


@torch.inference_mode()
def test_image_to_image(generator: Generator, cases: Case) -> None:
    """Strength 0.5 of 8 steps: the last four, from the mask ratio before them."""
    ids_BHW = generator.tokenizer.encode(cases["source_image"])
    masked_BHW = cases["image_to_image_05.mask_uniform"] < math.cos(math.pi / 4)
    canvas = keep(ids_BHW, ~masked_BHW, generator.transformer.mask_id)
    assert torch.equal(canvas.ids_BL, cases["image_to_image_05.tokens_before"][0].flatten(1))
    predict, condition = guided(generator, 10.0)
    sampler = recorded(cases, "image_to_image_05", 8, Temperature(2.0, "endpoints"), "cosine")
    generators = rng.image_generators([0, 1])
    states = list(decode(predict, condition, canvas, generators, sampler, first=4))
    check(generator, cases, "image_to_image_05", states)


@torch.inference_mode()
def test_inpainting(generator: Generator, cases: Case) -> None:
    """Each image by its own number of masked tokens.

    The program takes the mean of 16 and 15 tokens for both images, which gives these counts.
    """
    mask_id, side = generator.transformer.mask_id, generator.tokenizer.downsampling
    masked_BHW = token_mask(cases["inpaint_mask"][:, 0].bool(), side, grow=0)
    assert torch.equal(masked_BHW, cases["inpaint_token_mask"].bool())
    ids_BHW = generator.tokenizer.encode(cases["source_image"])
    canvas: Canvas = keep(ids_BHW, ~masked_BHW, mask_id)
    predict, condition = guided(generator, 10.0)
    sampler = recorded(cases, "inpaint", 5, Temperature(2.0, "endpoints"), "linear")
    states = list(decode(predict, condition, canvas, rng.image_generators([0, 1]), sampler))
    check(generator, cases, "inpaint", states)

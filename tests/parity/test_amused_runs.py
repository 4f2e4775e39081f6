"""Our decode loop makes the tokens of aMUSEd's recorded runs, step by step, from their noise.

Shape legend: B batch, T steps, L tokens, V codebook, H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import demask
from demask.generator import Generator
from demask.guidance import ClassifierFree, Constant
from demask.sampling.edit import blank, keep, token_mask
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import parse_schedule
from demask.sampling.select import Confidence
from demask.sampling.temperature import Temperature
from demask.types import Condition, DecodeState, Predict, TokenLayout
from recorded import Recorded

Case = dict[str, Tensor]
PROMPTS, NEGATIVES = ["the red apple", "blue"], ["", "re"]
SIZE = {"height": 24, "width": 32}


@pytest.fixture(scope="module")
def generator(golden: Path) -> Generator:
    return demask.load(str(golden / "amused"), device="cpu")


@pytest.fixture(scope="module")
def cases(golden: Path) -> Case:
    return {
        **load_file(golden / "amused" / "case.safetensors"),
        **load_file(golden / "amused_edit" / "case.safetensors"),
    }


def recorded(cases: Case, run: str, first: int = 0) -> Recorded:
    """The noise of a run, by the index of the step; the confidence has none in the last one."""
    sample_TBLV, choice_TBL = cases[f"{run}.sample_gumbel"], cases[f"{run}.confidence_gumbel"]
    return Recorded(
        F.pad(sample_TBLV, (0,) * 6 + (first, 0)), F.pad(choice_TBL, (0,) * 4 + (first, 1))
    )


def sampler(steps: int, tau: Temperature, schedule: str) -> Sampler:
    return Sampler(steps, parse_schedule(schedule), Confidence(tau))


def guided(generator: Generator, scale: float, micro: str = "") -> tuple[Predict, Condition]:
    settings = generator.settings.updated(**SIZE, micro_conditions=micro)
    condition, negative = (generator.condition(texts, settings) for texts in (PROMPTS, NEGATIVES))
    return ClassifierFree(generator.transformer.predict, negative, Constant(scale)), condition


def check(
    generator: Generator, cases: Case, run: str, replayed: Iterable[tuple[Tensor, DecodeState]]
) -> None:
    """The tokens before and after every step, and the image."""
    seen, states = zip(*replayed, strict=True)
    before_TBHW, after_TBHW = cases[f"{run}.tokens_before"], cases[f"{run}.tokens_after"]
    assert torch.equal(torch.stack(seen), before_TBHW.flatten(2))
    ids_TBL = torch.stack([state.ids_BL for state in states])
    assert torch.equal(ids_TBL, after_TBHW.flatten(2))
    image_BCHW = generator.tokenizer.decode(ids_TBL[-1].view_as(after_TBHW[-1]))
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = cases[f"{run}.tokens_before"].shape[2:]
    canvas = blank(2, TokenLayout((grid[0], grid[1])), generator.transformer.mask_id)
    predict, condition = guided(generator, scale, micro)
    how = sampler(steps, tau, "cosine")
    replayed = recorded(cases, run).replay(predict, condition, canvas, how, monkeypatch)
    check(generator, cases, run, replayed)


@torch.inference_mode()
def test_image_to_image(generator: Generator, cases: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strength 0.5 of 8 steps: the last four, from the mask ratio before them."""
    ids_BHW = generator.tokenizer.encode(cases["source_image"])
    masked_BHW = cases["image_to_image_05.mask_uniform"] < math.cos(math.pi / 4)
    canvas = keep(ids_BHW, ~masked_BHW, generator.transformer.mask_id)
    assert torch.equal(canvas.ids_BL, cases["image_to_image_05.tokens_before"][0].flatten(1))
    predict, condition = guided(generator, 10.0)
    how = sampler(8, Temperature(2.0, "endpoints"), "cosine")
    noise = recorded(cases, "image_to_image_05", first=4)
    replayed = noise.replay(predict, condition, canvas, how, monkeypatch, first=4)
    check(generator, cases, "image_to_image_05", replayed)


@torch.inference_mode()
def test_inpainting(generator: Generator, cases: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image by its own number of masked tokens.

    The program takes the mean of 16 and 15 tokens for both images, which gives these counts.
    """
    mask_id, side = generator.transformer.mask_id, generator.tokenizer.downsampling
    masked_BHW = token_mask(cases["inpaint_mask"][:, 0].bool(), side, grow=0)
    assert torch.equal(masked_BHW, cases["inpaint_token_mask"].bool())
    ids_BHW = generator.tokenizer.encode(cases["source_image"])
    canvas = keep(ids_BHW, ~masked_BHW, mask_id)
    predict, condition = guided(generator, 10.0)
    how = sampler(5, Temperature(2.0, "endpoints"), "linear")
    replayed = recorded(cases, "inpaint").replay(predict, condition, canvas, how, monkeypatch)
    check(generator, cases, "inpaint", replayed)

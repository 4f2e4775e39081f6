"""Text to image agrees with Meissonic's public program, loaded and asked as a person would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import demask
from demask.checkpoint.load import load_model
from demask.conditioning import Prompts
from demask.generator import Generator
from demask.guidance import ClassifierFree, Constant
from demask.settings import Settings
from demask.transformer.condition import encode_micro_conditions
from demask.transformer.meissonic import Meissonic
from demask.types import Condition, Step, TokenLayout
from differences import relative

Case = dict[str, Tensor]

PROMPTS, NEGATIVES = ["the red apple", "apple"], ["", "blurry"]
SIDE = 32  # pixels, in the micro-conditions
STEPS = 12


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "meissonic" / "case.safetensors")


@pytest.fixture(scope="module")
def generator(golden: Path) -> Generator:
    return demask.load(str(golden / "meissonic"), device="cpu")


@pytest.fixture(scope="module")
def settings(generator: Generator) -> Settings:
    return generator.settings.updated(width=SIDE, height=SIDE)


def step(ids_BHW: Tensor, left: int, mask_id: int) -> Step:
    """The step after which so many are left."""
    layout = TokenLayout(tuple(ids_BHW.shape[1:]))
    ratio_B = (ids_BHW == mask_id).flatten(1).double().mean(-1)
    return Step(STEPS - 1 - left, STEPS, layout, ratio_B)


def maps(logits_BLV: Tensor, like_BVHW: Tensor) -> Tensor:
    """(B, L, V) as the public program returns it, (B, V, H, W)."""
    return logits_BLV.transpose(1, 2).unflatten(2, like_BVHW.shape[2:])


def test_text_tokens(generator: Generator, case: Case) -> None:
    assert isinstance(generator.conditioner, Prompts)
    words = generator.conditioner.text.tokenizer
    assert torch.equal(words.ids(PROMPTS), case["prompt_ids"])
    assert torch.equal(words.ids(NEGATIVES), case["negative_ids"])


def test_text_states(generator: Generator, case: Case) -> None:
    condition = generator.condition([*NEGATIVES, *PROMPTS])
    assert relative(condition["states"], case["states"]) < 1e-4
    assert relative(condition["pooled"], case["pooled"]) < 1e-4


@pytest.mark.parametrize("left", [0, 5])
@torch.inference_mode()
def test_logits(generator: Generator, settings: Settings, case: Case, left: int) -> None:
    ids_BHW, theirs = case["tokens"].repeat(2, 1, 1), case[f"logits_t{left}"]
    condition = generator.condition([*NEGATIVES, *PROMPTS], settings)
    here = step(ids_BHW, left, generator.transformer.mask_id)
    ours = generator.transformer.predict(ids_BHW.flatten(1), condition, here)
    assert relative(maps(ours.logits_BLV, theirs), theirs) < 1e-4


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("left", [0, 5])
@torch.inference_mode()
def test_guided_logits(
    generator: Generator, settings: Settings, case: Case, left: int, batched: bool
) -> None:
    ids_BHW, theirs = case["tokens"], case[f"cfg9_logits_t{left}"]
    conditions = (generator.condition(texts, settings) for texts in (PROMPTS, NEGATIVES))
    condition, negative = conditions
    predict = ClassifierFree(generator.transformer.predict, negative, Constant(9), batched)
    here = step(ids_BHW, left, generator.transformer.mask_id)
    ours = predict(ids_BHW.flatten(1), condition, here)
    assert relative(maps(ours.logits_BLV, theirs), theirs) < 1e-4


def test_the_negative_prompt_is_the_reference(generator: Generator, case: Case) -> None:
    reference = generator.reference(generator.settings.updated(negative_prompt=NEGATIVES[1]))
    assert relative(reference["states"], case["states"][1:2]) < 1e-4
    assert relative(reference["pooled"], case["pooled"][1:2]) < 1e-4


def test_pixels(generator: Generator, case: Case) -> None:
    ids_BHW = case["decode_tokens"]
    bytes_BHWC = generator.pixels(ids_BHW.flatten(1), TokenLayout(tuple(ids_BHW.shape[1:])))
    error = bytes_BHWC.permute(0, 3, 1, 2) / 255 - case["decoded"]
    assert float(error.abs().max()) < 0.5 / 255 + 1e-4


@torch.inference_mode()
def test_ids(generator: Generator, case: Case) -> None:
    assert torch.equal(generator.tokenizer.encode(case["encode_images"]), case["encoded_tokens"])


@torch.inference_mode()
def test_a_transformer_without_feature_compression(golden: Path) -> None:
    case = load_file(golden / "meissonic_512" / "case.safetensors")
    model = load_model(golden / "meissonic_512", subfolder="transformer")
    assert isinstance(model, Meissonic)
    assert not model.config.compress
    ids_BHW, theirs = case["tokens"], case["logits_t5"]
    micro_B5 = encode_micro_conditions(SIDE, SIDE).expand(len(ids_BHW), -1)
    named = {"states": case["states"], "pooled": case["pooled"], "micro": micro_B5}
    here = step(ids_BHW, 5, model.mask_id)
    ours = model.predict(ids_BHW.flatten(1), Condition(named), here)
    assert relative(maps(ours.logits_BLV, theirs), theirs) < 1e-4

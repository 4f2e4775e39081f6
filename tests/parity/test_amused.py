"""Text to image agrees with aMUSEd's public program, loaded and asked as a person would."""

from __future__ import annotations

import json
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
from demask.sampling.schedule import num_masked_after, parse_schedule
from demask.sampling.temperature import Temperature
from demask.transformer.amused import Amused
from demask.types import Condition, Step, TokenLayout
from differences import relative

Case = dict[str, Tensor]
SCALE = 10.0


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "amused" / "case.safetensors")


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    return json.loads((golden / "amused" / "case.json").read_text())


@pytest.fixture(scope="module")
def generator(golden: Path) -> Generator:
    return demask.load(str(golden / "amused"), device="cpu")


def step(ids_BHW: Tensor) -> Step:
    """The model reads no time: any step will do."""
    grid = (ids_BHW.shape[1], ids_BHW.shape[2])
    return Step(0, 12, TokenLayout(grid), torch.ones(len(ids_BHW)))


def maps(logits_BLV: Tensor, like_BVHW: Tensor) -> Tensor:
    """(B, L, V) as the public program returns it, (B, V, H, W)."""
    return logits_BLV.transpose(1, 2).unflatten(2, like_BVHW.shape[2:])


def conditions(case: Case, i: int) -> tuple[Condition, Condition]:
    """The recorded text states of the negatives and of the prompts."""
    micro_B5 = case["micro_conditions"][i].expand(len(case["states"]), -1)
    both = Condition({"states": case["states"], "pooled": case["pooled"], "micro": micro_B5})
    half = len(both) // 2
    return both.take(slice(0, half)), both.take(slice(half, None))


def test_text(generator: Generator, case: Case, facts: dict) -> None:
    assert isinstance(generator.conditioner, Prompts)
    words = generator.conditioner.text.tokenizer
    prompts, negatives = facts["prompts"], facts["negative_prompts"]
    assert torch.equal(words.ids(prompts), case["prompt_ids"])
    assert torch.equal(words.ids(negatives), case["negative_ids"])
    condition = generator.condition([*negatives, *prompts])
    assert relative(condition["states"], case["states"]) < 1e-4
    assert relative(condition["pooled"], case["pooled"]) < 1e-4


def test_the_mask_id(generator: Generator, facts: dict) -> None:
    assert generator.transformer.mask_id == facts["mask_token_id"]


@pytest.mark.parametrize("i", [0, 1, 2], ids=["all", "60 %", "10 %"])
@pytest.mark.parametrize("folder", ["amused", "amused_512"])
@torch.inference_mode()
def test_logits(golden: Path, folder: str, i: int) -> None:
    case = load_file(golden / folder / "case.safetensors")
    model = load_model(golden / folder, subfolder="transformer")
    assert isinstance(model, Amused)
    ids_BHW = case[f"tokens_{i}"]
    pair = zip(("unconditional", "conditional"), conditions(case, i), strict=True)
    for name, condition in pair:
        theirs = case[f"{name}_logits_{i}"]
        ours = model.predict(ids_BHW.flatten(1), condition, step(ids_BHW))
        assert relative(maps(ours.logits_BLV, theirs), theirs) < 1e-4


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("folder", ["amused", "amused_512"])
@torch.inference_mode()
def test_guided_logits(golden: Path, folder: str, batched: bool) -> None:
    case = load_file(golden / folder / "case.safetensors")
    model = load_model(golden / folder, subfolder="transformer")
    negative, condition = conditions(case, 1)
    predict = ClassifierFree(model.predict, negative, Constant(SCALE), batched)  # type: ignore[arg-type]
    ids_BHW, theirs = case["tokens_1"], case["cfg10_logits_1"]
    ours = predict(ids_BHW.flatten(1), condition, step(ids_BHW))
    assert relative(maps(ours.logits_BLV, theirs), theirs) < 1e-4


@torch.inference_mode()
def test_the_tokenizer(generator: Generator, case: Case) -> None:
    assert relative(generator.tokenizer.decode(case["decode_tokens"]), case["decoded"]) < 1e-4
    assert torch.equal(generator.tokenizer.encode(case["encode_images"]), case["encoded_tokens"])


def test_masked_counts(facts: dict) -> None:
    """In single precision, and for a part of the grid too."""
    for run in facts["schedules"]:
        name = "linear_float32" if run["schedule"] == "linear" else run["schedule"]
        before, *after = run["hidden_before_and_after"]
        ours = num_masked_after(parse_schedule(name), run["steps"], torch.tensor([before]))
        assert ours.tolist() == [after], run


def test_temperatures(facts: dict) -> None:
    """A pair of end points, or a single number that falls to 0.01."""
    for run in facts["temperatures"]:
        given, steps = run["argument"], run["steps"]
        first, end = given if isinstance(given, list) else (given, 0.01)
        ours = Temperature(float(first), f"line:{end / first}")
        found = [ours.at(Step(k, steps, TokenLayout((8, 8)), torch.ones(1))) for k in range(steps)]
        assert found == pytest.approx(run["values"], abs=1e-6)

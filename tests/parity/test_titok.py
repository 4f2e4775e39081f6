"""TiTok agrees with its authors' program: tokenizers, transformers, and whole runs of our loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from demask.checkpoint.load import load_model
from demask.guidance import ClassifierFree
from demask.guidance.scale import parse_scale
from demask.tokenizer.titok import TiTok
from demask.types import Condition, Predict, Step, TokenLayout
from differences import relative
from replay import numbers, replayed, run_settings, tokens_before

Case = dict[str, Tensor]
TOKENIZERS = ["titok_two_stage", "titok_single_stage"]
TRANSFORMERS = ["titok_imagebert", "titok_uvit"]
DECAYS = {
    # the authors' number is g; ours is the scale of reference + s (conditional - reference)
    "constant": lambda g: (1 + g, "constant"),
    "linear": lambda g: (1 + g, "ramp:delayed=True"),
    "power-cosine": lambda g: (g, "power_cosine:power=3,delayed=True"),
}


@pytest.fixture(params=TOKENIZERS, scope="module")
def tokenizer(request: pytest.FixtureRequest, golden: Path) -> tuple[TiTok, Case]:
    folder = golden / request.param
    model = load_model(folder)
    assert isinstance(model, TiTok)
    return model, load_file(folder / "case.safetensors")


@torch.inference_mode()
def test_encoding(tokenizer: tuple[TiTok, Case]) -> None:
    model, case = tokenizer
    assert relative(model.encoded(case["images"]), case["pre_quantization"]) < 1e-4
    ids_BL = model.encode(case["images"])
    assert torch.equal(ids_BL, case["tokens"])
    assert relative(model.quantize.values(ids_BL), case["quantized"]) < 1e-4


@torch.inference_mode()
def test_decoding(tokenizer: tuple[TiTok, Case]) -> None:
    model, case = tokenizer
    for ids, image in (("tokens", "reconstruction"), ("decode_tokens", "decoded")):
        assert relative(model.unclipped(case[ids]), case[image]) < 1e-4
        assert relative(model.decode(case[ids]), case[image].clamp(0, 1)) < 1e-4
    assert torch.equal(model.decode(case["tokens"][:, None]), model.decode(case["tokens"]))


@torch.inference_mode()
def test_the_proxy_codes_of_two_stages(golden: Path) -> None:
    folder = golden / "titok_two_stage"
    model, case = load_model(folder), load_file(folder / "case.safetensors")
    assert isinstance(model, TiTok)
    proxy_BKHW = model.decoder(model.quantize.values(case["decode_tokens"][:1]))
    assert relative(proxy_BKHW, case["proxy_logits"]) < 1e-4


@pytest.fixture(params=TRANSFORMERS, scope="module")
def folder(request: pytest.FixtureRequest, golden: Path) -> Path:
    return golden / str(request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_model(folder)


@pytest.fixture(scope="module")
def case(folder: Path) -> Case:
    return load_file(folder / "case.safetensors")


def guided(model: Any, decay: str, g: float) -> Predict:
    scale, schedule = DECAYS[decay](g)
    return ClassifierFree(model.predict, model.unconditional(), parse_scale(schedule, scale))


@torch.inference_mode()
def test_logits(model: Any, case: Case) -> None:
    condition = Condition({"class_ids": case["class_ids"]})
    nothing = model.unconditional().take(torch.zeros(len(case["tokens"])).long())
    masked_BL = case["tokens"] == model.mask_id
    assert masked_BL.any()
    assert case["tokens"].max() == model.mask_id
    step = Step(0, 1, TokenLayout((masked_BL.shape[1],)), masked_BL.double().mean(-1))
    for told, name in ((condition, "conditional"), (nothing, "unconditional")):
        ours = model.predict(case["tokens"], told, step)
        assert relative(ours.logits_BLV, case[f"logits_{name}"]) < 1e-4
        fused_BLV = model.to_logits(model.pre_logits(case["tokens"], told, step))
        assert relative(fused_BLV, case[f"logits_{name}"]) < 1e-4


@pytest.mark.parametrize(
    ("decay", "name", "index"),
    [("constant", "constant_4.5", 0)]
    + [
        (decay, f"{decay.replace('-', '_')}_step{k}", k)
        for decay in ("linear", "power-cosine")
        for k in (0, 3, 7)
    ],
)
@torch.inference_mode()
def test_guided_logits(model: Any, case: Case, decay: str, name: str, index: int) -> None:
    step = Step(index, 8, model.layout, torch.ones(len(case["tokens"])))
    condition = Condition({"class_ids": case["class_ids"]})
    ours = guided(model, decay, 4.5)(case["tokens"], condition, step)
    assert relative(ours.logits_BLV, case[f"logits_{name}"]) < 1e-4


def settings_of(run: Mapping[str, Any]) -> dict[str, Any]:
    scale, schedule = DECAYS[run["decay"]](run["guidance_scale"])
    annealed = run["softmax_temperature_annealing"]
    return run_settings(run, scale, schedule, annealed=annealed)


@pytest.mark.parametrize("decay", list(DECAYS))
def test_every_recorded_run_token_for_token(
    folder: Path, model: Any, case: Case, decay: str
) -> None:
    runs = {run["decay"]: run for run in json.loads((folder / "trajectory.json").read_text())}
    settings = settings_of(runs[decay])
    predict = guided(model, decay, runs[decay]["guidance_scale"])
    recorded = {
        name.removeprefix(f"trajectory.{decay}."): tensor
        for name, tensor in case.items()
        if name.startswith(f"trajectory.{decay}.")
    }
    condition = Condition({"class_ids": case["class_ids"]})
    states = replayed(model, predict, condition, settings, recorded)
    for k, state in enumerate(states):
        assert torch.equal(tokens_before(state, model), recorded["tokens_before"][k])
        if "logits" in recorded:
            annealed = runs[decay]["softmax_temperature_by_step"][k]
            assert state.logits_BLV is not None
            assert relative(state.logits_BLV / annealed, recorded["logits"][k]) < 1e-4
    assert torch.equal(states[-1].ids_BL, recorded["tokens"])


def test_counts_scales_and_temperatures_are_the_published_ones(golden: Path) -> None:
    for run in json.loads((golden / "titok_imagebert" / "schedule.json").read_text()):
        if run["num_sample_steps"] > run["tokens"]:
            continue  # refused by our loop: a token is decided once
        names = {"steps": "num_sample_steps", "decay": "guidance_decay"}
        run |= {ours: run[theirs] for ours, theirs in names.items()}
        check_numbers(run, settings_of(run), 0 if run["decay"] == "power-cosine" else 1)


def check_numbers(run: Mapping[str, Any], settings: Mapping[str, Any], offset: float) -> None:

    masked, scales, choice, temperatures = numbers(settings, run["tokens"])
    assert masked == run["hidden_after_step"]
    assert scales == pytest.approx([s + offset for s in run["guidance_scale_by_step"]], abs=1e-5)
    noise = zip(run["noise_temperature_by_step"], run["softmax_temperature_by_step"], strict=True)
    expected = [tau * anneal for tau, anneal in noise]
    assert choice == pytest.approx(expected, abs=1e-6)
    assert temperatures == pytest.approx(expected, abs=1e-6)

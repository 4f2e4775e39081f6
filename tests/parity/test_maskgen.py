"""MaskGen and TA-TiTok agree with their authors' program, loaded and asked as a person would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import demask
from demask.checkpoint.load import load_model
from demask.conditioning import Prompts
from demask.generator import Generator
from demask.guidance import ClassifierFree
from demask.guidance.scale import parse_scale
from demask.tokenizer.titok import TATiTok
from demask.transformer.maskgen import SCORE_UNIT, MaskGen, sinusoid
from demask.types import Condition, Predict, Step
from differences import relative
from replay import numbers, replayed, run_settings, tokens_before

Case = dict[str, Tensor]
PROMPTS = ["the red apple", "apple"]
SCHEDULES = {
    # the authors write c + s (c - u), and their own s starts at 1
    "none": "constant",
    "linear": "ramp:start=2",
    "cosine": "power_cosine:power=1,start=2",
    "flippedcosine": "flipped_cosine:start=2",
}


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "maskgen" / "case.safetensors")


@pytest.fixture(scope="module")
def folder(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator with its text encoder beside it."""
    here = tmp_path_factory.mktemp("maskgen") / "model"
    shutil.copytree(golden / "maskgen" / "generator", here)
    shutil.copytree(golden / "maskgen" / "text", here / "text_encoder")
    return here


@pytest.fixture(scope="module")
def generator(golden: Path, folder: Path) -> Generator:
    return demask.load(folder, tokenizer=str(golden / "maskgen" / "tokenizer"), device="cpu")


def test_text_tokens_are_padded_with_0(generator: Generator, case: Case) -> None:
    assert isinstance(generator.conditioner, Prompts)
    words = generator.conditioner.text.tokenizer
    assert torch.equal(words.ids(PROMPTS), case["prompt_ids"])
    assert torch.equal(words.ids([""]), case["empty_ids"])


def test_three_readings_of_the_text(generator: Generator, case: Case) -> None:
    condition, empty = generator.condition(PROMPTS), generator.reference()
    for name in ("states", "pooled", "decoder_text"):
        assert relative(condition[name], case[name]) < 1e-4
    for name in ("states", "pooled"):
        assert relative(empty[name], case[f"empty_{name}"]) < 1e-4


def test_the_micro_condition(generator: Generator, case: Case) -> None:
    assert isinstance(generator.transformer, MaskGen)
    width = generator.transformer.config.micro_width
    wave_BM = sinusoid(SCORE_UNIT * torch.tensor([6.5, 4.0]), width)
    assert relative(wave_BM, case["micro_condition_vector"]) < 1e-5


@torch.inference_mode()
def test_the_tokenizer(generator: Generator, case: Case) -> None:
    model = generator.tokenizer
    assert isinstance(model, TATiTok)
    assert relative(model.encoded(case["images"]), case["pre_quantization"]) < 1e-4
    assert torch.equal(model.encode(case["images"]), case["tokens"])
    text_BTE = case["decoder_text"]
    for ids, image, text in (
        ("tokens", "reconstruction", text_BTE),
        ("decode_tokens", "decoded", text_BTE),
        ("decode_tokens", "decoded_with_swapped_text", text_BTE.flip(0)),
    ):
        assert relative(model.unclipped(case[ids], text), case[image]) < 1e-4
        bound = model.conditioned(Condition({"decoder_text": text}))
        assert relative(bound.decode(case[ids]), case[image].clamp(0, 1)) < 1e-4
    assert model.text_BTE is None
    with pytest.raises(ValueError, match="reads a text beside the ids"):
        model.decode(case["tokens"])


def test_pixels_are_of_the_prompt(generator: Generator, case: Case) -> None:
    layout = generator.transformer.layout
    for texts, image in ((PROMPTS, "decoded"), (PROMPTS[::-1], "decoded_with_swapped_text")):
        ours = generator.pixels(case["decode_tokens"], layout, generator.condition(texts))
        error = ours.permute(0, 3, 1, 2) / 255 - case[image].clamp(0, 1)
        assert float(error.abs().max()) < 0.5 / 255 + 1e-4
    empty = generator.pixels(case["decode_tokens"], layout, generator.condition(["", ""]))
    assert torch.equal(generator.pixels(case["decode_tokens"], layout), empty)


@torch.inference_mode()
def test_logits(generator: Generator, case: Case) -> None:
    model, ids_BL = generator.transformer, case["generator_tokens"]
    assert isinstance(model, MaskGen)
    assert ids_BL.max() == model.mask_id
    step = Step(0, 1, model.layout, torch.ones(len(ids_BL)))
    empty = generator.reference().take(torch.zeros(2).long())
    low = generator.condition(PROMPTS, generator.settings.updated(micro_conditions="score=4"))
    for condition, name in (
        (generator.condition(PROMPTS), "conditional"),
        (empty, "unconditional"),
        (low, "conditional_score4"),
    ):
        ours_BLV = model.predict(ids_BL, condition, step).logits_BLV
        assert relative(ours_BLV, case[f"logits_{name}"]) < 1e-4
        fused_BLV = model.to_logits(model.pre_logits(ids_BL, condition, step))
        assert torch.equal(fused_BLV, ours_BLV)


def guided(generator: Generator, g: float, decay: str) -> Predict:
    scale = parse_scale(SCHEDULES[decay], 1 + g)
    return ClassifierFree(generator.transformer.predict, generator.reference(), scale)


@pytest.mark.parametrize("index", [0, 7, 15])
@torch.inference_mode()
def test_guided_logits(generator: Generator, case: Case, index: int) -> None:
    ids_BL = case["generator_tokens"]
    step = Step(index, 16, generator.transformer.layout, torch.ones(len(ids_BL)))
    ours = guided(generator, 12, "cosine")(ids_BL, generator.condition(PROMPTS), step)
    assert relative(ours.logits_BLV, case[f"logits_cosine_step{index}"]) < 1e-4


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_every_recorded_run_token_for_token(
    golden: Path, generator: Generator, case: Case, decay: str
) -> None:
    runs = json.loads((golden / "maskgen" / "trajectory.json").read_text())
    run = next(run for run in runs if run["decay"] == decay)
    g, noise = run["guidance_scale"], run["noise_on_confidence"]
    settings = run_settings(run, 1 + g, SCHEDULES[decay], noise=noise)
    recorded = {
        name.removeprefix(f"trajectory.{decay}."): tensor
        for name, tensor in case.items()
        if name.startswith(f"trajectory.{decay}.")
    }
    assert noise == ("confidence_gumbel" in recorded)
    model, condition = generator.transformer, generator.condition(PROMPTS)
    states = replayed(model, guided(generator, g, decay), condition, settings, recorded)
    for k, state in enumerate(states):
        assert torch.equal(tokens_before(state, model), recorded["tokens_before"][k])
        if "logits" in recorded:
            assert state.logits_BLV is not None
            annealed = run["softmax_temperature_by_step"][k]
            assert relative(state.logits_BLV / annealed, recorded["logits"][k]) < 1e-4
    assert torch.equal(states[-1].ids_BL, recorded["tokens"])
    ours = generator.preview(states[-1]).permute(0, 3, 1, 2) / 255
    error = ours - recorded["picture"].clamp(0, 1)
    assert float(error.abs().max()) < 0.5 / 255 + 1e-4


def test_counts_scales_and_temperatures_are_the_published_ones(golden: Path) -> None:
    for run in json.loads((golden / "maskgen" / "schedule.json").read_text()):
        schedule = SCHEDULES[run["guidance_decay"]]
        power = run.get("guidance_decay_scale_pow", 1.0)
        schedule = schedule.replace("power=1", f"power={power}")
        named: dict[str, Any] = {"steps": run["num_sample_steps"], **run}
        settings = run_settings(named, 1 + run["guidance_scale"], schedule)
        masked, scales, choice, temperatures = numbers(settings, run["tokens"])
        assert masked == run["hidden_after_step"]
        theirs = [1 + s for s in run["guidance_scale_by_step"]]
        assert scales == pytest.approx(theirs, abs=1e-5)
        by_step = (run[f"{kind}_temperature_by_step"] for kind in ("noise", "softmax"))
        expected = [tau * anneal for tau, anneal in zip(*by_step, strict=True)]
        assert choice == temperatures == pytest.approx(expected, abs=1e-6)


def test_an_output_matrix_of_its_own(golden: Path, tmp_path: Path) -> None:
    source = golden / "maskgen" / "generator"
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["embeddings.weight"][:80].clone()
    facts = json.loads((source / "config.json").read_text())
    loaded = []
    for tied in (True, False):
        folder = tmp_path / str(tied)
        folder.mkdir()
        facts["model"]["maskgen"]["weight_tying"] = tied
        (folder / "config.json").write_text(json.dumps(facts))
        bias = {} if tied else {"lm_head.bias": torch.zeros(80)}
        torch.save(tensors | bias, folder / "model.bin")  # the authors' .bin files hold both
        loaded.append(load_model(folder))
    shared, own = loaded
    assert isinstance(shared, MaskGen)
    assert isinstance(own, MaskGen)
    x_BLD = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shared.to_logits(x_BLD), own.to_logits(x_BLD))

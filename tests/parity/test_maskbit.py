"""MaskBit and VQGAN+ agree with the authors' program on its golden weights.

Shape legend: B batch, P positions, S parts, L = P S tokens, K codes of a part, T steps.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import demask
from demask.checkpoint.layout import parse_yaml
from demask.checkpoint.load import load_model
from demask.preset_file import read_presets
from demask.sampling.edit import blank
from demask.sampling.schedule import num_masked_after
from demask.settings import Settings
from demask.tokenizer.vqgan import VQGAN, VQGANConfig
from demask.transformer.maskbit import MaskBit, MaskBitConfig
from demask.types import Condition, Step, TokenLayout
from differences import relative
from recorded import Recorded

Case = dict[str, Tensor]
TOKENIZERS = ("maskbit_tokenizer", "maskbit_vqgan_plus")


def file_of(folder: Path) -> Path:
    """The only weights file of a golden case."""
    (file,) = folder.glob("*.bin")
    return file


@pytest.fixture(scope="module")
def case(golden: Path) -> Case:
    return load_file(golden / "maskbit_generator" / "case.safetensors")


@pytest.fixture(scope="module")
def generator(golden: Path) -> demask.Generator:
    tokenizer = str(file_of(golden / "maskbit_tokenizer"))
    return demask.load(file_of(golden / "maskbit_generator"), tokenizer, device="cpu")


def settings_of(steps: int, guidance: float, power: float, noise: float) -> Settings:
    """The authors' options as our settings."""
    return Settings(
        steps=steps,
        schedule="arccos",
        order="confidence",
        choice_temperature=noise,
        choice_temperature_decay="linear",
        guidance_scale=1 + guidance,
        guidance_schedule=f"power_cosine:power={power},delayed=True",
    )


@pytest.fixture(scope="module")
def settings(golden: Path) -> Settings:
    """Those of the yaml file beside the generator."""
    program = file_of(golden / "maskbit_generator").with_suffix(".yaml")
    told = parse_yaml(program.read_bytes(), program)["model"]["mlm_model"]
    names = ("num_steps", "guidance_scale", "scale_pow", "randomize_temperature")
    return settings_of(*(told[name] for name in names))


@torch.inference_mode()
@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers(name: str, golden: Path) -> None:
    case = load_file(golden / name / "case.safetensors")
    model = load_model(file_of(golden / name))
    assert isinstance(model, VQGAN)
    latent_BDHW = model.encoder(case["images"])
    assert relative(latent_BDHW, case["pre_quantization"]) < 1e-4
    assert torch.equal(model.encode(case["images"]), case["tokens"])
    values_BDHW = model.latents(case["tokens"])
    if "sign_latents" in case:
        assert torch.equal(values_BDHW, case["sign_latents"])
    assert relative(model.decoder(values_BDHW), case["reconstruction"]) < 1e-4
    clipped = case["reconstruction"].clamp(0, 1)
    assert relative(model.decode(case["tokens"]), clipped) < 1e-4
    assert torch.equal(model.nearest(values_BDHW), case["tokens"])


def test_parts_are_groups_of_bits_the_lowest_first(case: Case, generator) -> None:
    layout = generator.transformer.layout
    ids_BHW = case["split_tokens"].unflatten(1, layout.shape)
    parts = layout.split(ids_BHW, generator.transformer.codebook_size)
    assert torch.equal(parts.flatten(1, 2), case["split_parts"])
    codes = generator.transformer.codebook_size
    assert torch.equal(layout.join(case["split_parts"].flatten(1), codes), ids_BHW)


@torch.inference_mode()
def test_logits(case: Case, generator: demask.Generator) -> None:
    model, ids_BL = generator.transformer, case["parts"].flatten(1)
    before = case["class_ids"].clone(), ids_BL.clone()
    nothing_B = generator.conditioner.transformer.unconditional()["class_ids"].expand_as(before[0])
    for kind, class_ids_B in (("conditional", case["class_ids"]), ("unconditional", nothing_B)):
        step = Step(0, 1, model.layout, (ids_BL == model.mask_id).double().mean(-1))
        ours = model.predict(ids_BL, Condition({"class_ids": class_ids_B}), step).logits_BLV
        assert relative(ours, case[f"logits_{kind}"].flatten(1, 2)) < 1e-4
    assert torch.equal(case["class_ids"], before[0])
    assert torch.equal(ids_BL, before[1])


@torch.inference_mode()
def test_annealed_guidance(case: Case, generator: demask.Generator, settings: Settings) -> None:
    ids_BL, layout = case["parts"].flatten(1), generator.transformer.layout
    guided, prefix = generator.guided(settings), "logits_guided_step"
    names = [name for name in case if name.startswith(prefix)]
    assert len(names) == 3
    for name in names:
        ratio_B = (ids_BL == generator.transformer.mask_id).double().mean(-1)
        step = Step(int(name.removeprefix(prefix)), settings.steps, layout, ratio_B)
        ours = guided(ids_BL, Condition({"class_ids": case["class_ids"]}), step).logits_BLV
        assert relative(ours, case[name].flatten(1, 2)) < 1e-4, name


def test_the_recorded_run(
    case: Case,
    generator: demask.Generator,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_TBL = case["trajectory.parts_before"].flatten(2)
    steps, batch = before_TBL.shape[:2]
    assert settings.steps == steps
    model, sampler = generator.transformer, generator.sampler(settings)
    for index in range(steps):
        step = Step(index, steps, model.layout, torch.ones(1))
        noise = sampler.order.choice_temperature.at(step)
        assert noise == pytest.approx(float(case["trajectory.noise_temperature"][index]), abs=1e-6)
        scale = settings.scale(step) - 1
        assert scale == pytest.approx(float(case["trajectory.scale"][index]), abs=1e-5)
    recorded = Recorded(
        case["trajectory.sample_gumbel"].flatten(2, 3),
        case["trajectory.confidence_gumbel"].flatten(2),
    )
    replay = recorded.replay(
        generator.guided(settings),
        Condition({"class_ids": case["class_ids"]}),
        blank(batch, model.layout, model.mask_id),
        sampler,
        monkeypatch,
    )
    states = list(replay)
    assert len(states) == steps
    for index, (seen_BL, state) in enumerate(states):
        assert torch.equal(seen_BL, before_TBL[index]), f"before step {index}"
        theirs = case["trajectory.logits"][index].flatten(1, 2)
        assert relative(state.guided_BLV, theirs) < 1e-4
    with torch.inference_mode():
        ids_BHW = model.layout.join(states[-1][1].ids_BL, model.codebook_size)
        image_BCHW = generator.tokenizer.decode(ids_BHW)
    assert torch.equal(ids_BHW.flatten(1), case["trajectory.tokens"])
    assert relative(image_BCHW, case["trajectory.picture"].clamp(0, 1)) < 1e-4


def test_schedules_are_those_of_the_program(golden: Path) -> None:
    shapes = {"root": "square_root"}
    annealing = {"none": "constant", "linear": "ramp:delayed=True", "cosine": "power_cosine"}
    file = golden / "maskbit_generator" / "schedule.json"
    runs: list[dict[str, Any]] = json.loads(file.read_text())
    for run in runs:
        steps, strategy = run["steps"], run["mask_schedule_strategy"]
        method = run["guidance_annealing"]
        power = f":power={run['scale_pow']},delayed=True" if method == "cosine" else ""
        softmax = run["softmax_temperature_by_step"]
        settings = replace(
            settings_of(steps, run["guidance_scale"], 1.0, run["randomize_temperature"]),
            schedule=shapes.get(strategy, strategy),
            guidance_schedule=annealing[method] + power,
            temperature_decay="annealed" if len(set(softmax)) > 1 else "constant",
        )
        sampler, start_B = settings.sampler, torch.tensor([run["units"]])
        counts = num_masked_after(sampler.schedule, steps, start_B)[0].tolist()
        assert counts == run["hidden_after_step"], run["name"]
        order: Any = sampler.order
        for index in range(steps):
            step = Step(index, steps, TokenLayout((16, 16), 2), torch.ones(1))
            found = {
                "guidance_scale": settings.scale(step) - 1,
                "noise_temperature": order.choice_temperature.at(step),
                "softmax_temperature": sampler.temperature.at(step),
            }
            for name, value in found.items():
                assert value == pytest.approx(run[f"{name}_by_step"][index], abs=2e-5), name


@pytest.mark.parametrize(
    ("run", "preset"),
    [("maskbit_10bit", "published"), ("maskbit_14bit_256steps", "published_256")],
)
def test_the_presets_are_the_authors_settings(run: str, preset: str, golden: Path) -> None:
    runs = json.loads((golden / "maskbit_generator" / "schedule.json").read_text())
    (told,) = (each for each in runs if each["name"] == run)
    file = Path(demask.__file__).parent / "published_presets" / f"{run.split('_256')[0]}.toml"
    assert read_presets(file)[preset].settings == settings_of(
        told["steps"], told["guidance_scale"], told["scale_pow"], told["randomize_temperature"]
    )


def test_published_sizes() -> None:
    tokenizers = {10: 54_469_005, 12: 54_479_247, 14: 54_489_489, 16: 54_499_731, 18: 54_509_973}
    generators = {
        10: 304_728_128,
        12: 304_795_776,
        14: 304_929_024,
        16: 305_193_472,
        18: 305_720_320,
    }
    with torch.device("meta"):
        nets: list[tuple[nn.Module, int]] = [
            (VQGAN(VQGANConfig.maskbit(bits)), count) for bits, count in tokenizers.items()
        ]
        nets += [(MaskBit(MaskBitConfig(bits)), count) for bits, count in generators.items()]
        for codes, width, count in ((1024, 256, 55_990_915), (4096, 64, 55_007_683)):
            config = VQGANConfig(codebook_size=codes, latent_width=width, strided=True)
            nets.append((VQGAN(config), count))
    for net, count in nets:
        assert sum(p.numel() for p in net.parameters()) == count

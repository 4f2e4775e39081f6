"""Whole runs of Halton-MaskGIT and MaskGIT-pytorch 1.0, token for token through our loop.

Shape legend: B batch, C channels, H W rows and columns, L tokens, T steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from demask import Settings, rng
from demask.sampling.edit import blank
from demask.types import Condition
from differences import relative
from golden_models import class_generator
from recorded import Recorded

RUNS = [
    ("halton", "halton"),
    ("halton", "halton_rolled_top_k"),
    ("halton", "confidence"),
    ("halton", "confidence_kept"),
    ("halton_uneven_heads", "halton"),
    ("maskgit_v1", "confidence"),
]
VERSION_1 = {"sm_temp": 1.0, "w": 3.0, "r_temp": 4.5}


def settings_of(name: str, run: str, told: dict[str, Any], steps: int) -> Settings:
    """A program's options as our settings."""
    if run.startswith("halton"):
        first, last = told["sm_temp_min"], told["sm_temp_max"]
        power, warmup = told["temp_pow"], told["temp_warmup"]
        return Settings(
            steps=steps,
            schedule="halton",
            order=f"halton:roll={told['randomize']}",
            temperature=first**-power,
            temperature_decay=f"sharpening:end={last / first},power={power},warmup={warmup}",
            guidance_scale=1 + told["w"],
            top_k=max(told["top_k"], 0),
        )
    schedule = "maskgit_v1" if name == "maskgit_v1" else "halton_confidence"
    return Settings(
        steps=steps,
        schedule=f"{schedule}:arccos",
        order="confidence",
        choice_temperature=told["r_temp"],
        choice_temperature_decay="endpoints",
        temperature=1 / told["sm_temp"],
        guidance_scale=1 + told["w"],
        guidance_schedule="endpoints",
        corrections=("redraw",) if run == "confidence" and name == "halton" else (),
    )


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_a_recorded_run(
    name: str, run: str, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = load_file(golden / name / "case.safetensors")
    told = json.loads((golden / name / "case.json").read_text())
    options = VERSION_1 if name == "maskgit_v1" else told["runs"][run]
    before_TBHW = case[f"{run}.tokens_before"]
    steps, batch = before_TBHW.shape[:2]
    generator = class_generator(golden, name, tmp_path)
    settings = settings_of(name, run, options, steps)
    choice = case.get(f"{run}.confidence_gumbel")
    recorded = Recorded(case[f"{run}.sample_gumbel"], choice)
    if f"{run}.roll" in case:
        # their place j is place (j - roll) of the order; ours starts where the seed says
        roll, tokens = case[f"{run}.roll"], before_TBHW[0, 0].numel()
        starts = {seed: int(-roll[seed] % tokens) for seed in range(batch)}
        monkeypatch.setattr(rng, "derive", lambda seed, *labels: starts[seed])

    canvas = blank(batch, generator.transformer.layout, generator.transformer.mask_id)
    replay = recorded.replay(
        generator.guided(settings),
        Condition({"class_ids": case["class_ids"]}),
        canvas,
        generator.sampler(settings),
        monkeypatch,
    )
    states = list(replay)

    assert len(states) == steps
    for step, (seen_BL, state) in enumerate(states):
        assert torch.equal(seen_BL, before_TBHW[step].flatten(1)), f"before step {step}"
        if f"{run}.mask" in case:
            mask_BL = case[f"{run}.mask"][step].flatten(1).bool()
            ours = state.unmasked_now_BL if run.startswith("halton") else state.masked_BL
            assert torch.equal(ours, mask_BL), f"after step {step}"
    with torch.inference_mode():
        ids_BHW = states[-1][1].ids_BL.unflatten(1, generator.transformer.layout.dims)
        image_BCHW = generator.tokenizer.decode(ids_BHW)
    theirs_BCHW = (case[f"{run}.image"].clamp(-1, 1) + 1) / 2
    assert relative(image_BCHW, theirs_BCHW) < 1e-4

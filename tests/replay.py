"""Replay recorded runs of TiTok's and MaskGen's programs through our decode loop.

Their draw is argmax(logits / a + tau * Gumbel), ours with temperature t = a tau draws from
softmax(logits / t); with the recorded noise both are argmax(logits / t + Gumbel).

Shape legend: B batch, L tokens, R rows (masked tokens of all images), T steps, V codebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from demask import rng
from demask.sampling.edit import blank
from demask.sampling.schedule import num_masked_after
from demask.sampling.select import SelectionInput
from demask.sampling.stepper import Stepper
from demask.settings import Settings
from demask.types import Condition, DecodeState, Predict, Step, TokenLayout


def run_settings(
    run: Mapping[str, Any],
    scale: float,
    schedule: str,
    *,
    annealed: bool = True,
    noise: bool = True,
) -> dict[str, Any]:
    """Our settings of a run of theirs."""
    decay = "annealed_linear" if annealed else "linear"
    tau = run["randomize_temperature"]
    return {
        "steps": run["steps"],
        "schedule": "arccos",
        "order": "logit",
        "temperature": tau,
        "temperature_decay": decay,
        "choice_temperature": tau if noise else 0.0,
        "choice_temperature_decay": decay,
        "guidance_scale": scale,
        "guidance_schedule": schedule,
    }


@dataclass(frozen=True)
class ReplayStepper(Stepper):
    """A stepper that draws codes with recorded Gumbel noise."""

    sample_gumbel: Tensor = field(default_factory=lambda: torch.empty(0))

    def draw(self, selection: SelectionInput) -> Tensor:
        temperature = self.sampler.temperature.at(selection.step)
        gumbel_RV = self.sample_gumbel[selection.step.index][selection.candidate_BL]
        noisy_RV = selection.logits_RV + temperature * gumbel_RV
        return selection.scatter(noisy_RV.argmax(-1), 0)


@torch.inference_mode()
def replayed(
    model: Any,
    predict: Predict,
    condition: Condition,
    settings: Mapping[str, Any],
    recorded: Mapping[str, Tensor],
) -> list[DecodeState]:
    """The states of a run with the recorded noise; each step is also our own."""
    sampler = Settings(**settings).sampler
    batch = len(condition)
    canvas = blank(batch, model.layout, model.mask_id)
    generators = rng.image_generators(range(batch))
    stepper, state = Stepper.start(predict, condition, canvas, generators, sampler)
    parts = {f.name: getattr(stepper, f.name) for f in fields(stepper)}
    stepper = ReplayStepper(**parts, sample_gumbel=recorded["sample_gumbel"])
    states = []
    noise = iter(recorded.get("confidence_gumbel", ()))  # none where the confidence has no noise
    with patch.object(rng, "gumbel", lambda generators, *shape: next(noise).double()):
        for index in range(sampler.steps):
            state = stepper.step(state, replace(state.step, index=index))
            states.append(state)
    return states


def tokens_before(state: DecodeState, model: Any) -> Tensor:
    """What the model saw in a step."""
    if state.previous is None:
        return torch.full_like(state.ids_BL, model.mask_id)
    return state.previous.ids_BL


def numbers(
    settings: Mapping[str, Any], tokens: int
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Of each step: tokens left masked, guidance scale, choice and softmax temperature."""
    chosen = Settings(**settings)
    sampler, order = chosen.sampler, chosen.sampler.order
    steps = [
        Step(k, chosen.steps, TokenLayout((tokens,)), torch.ones(1)) for k in range(chosen.steps)
    ]
    masked_BT = num_masked_after(sampler.schedule, chosen.steps, torch.tensor([tokens]))
    choice = [order.choice_temperature.at(step) for step in steps]  # type: ignore[attr-defined]
    scales = [float(chosen.scale(step)) for step in steps]
    return masked_BT[0].tolist(), scales, choice, [sampler.temperature.at(step) for step in steps]

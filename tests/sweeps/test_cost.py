"""Forward passes are counted where a prediction is made, below guidance and in a critic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demask.auxiliary import AuxiliaryNetworks
from demask.generator import Generator
from demask.sampling.decode import last
from demask.sweeps.cost import CostMeter
from demask.types import Condition, Step
from tiny import ToyCritic, tiny_generator, tiny_transformer


class ToyModule(nn.Module):
    """A self-guidance module whose second pass reads the features alone."""

    def smoothed_logits(
        self, transformer: Any, features_BLD: Tensor, condition: Condition, step: Step
    ) -> Tensor:
        return transformer.apply_head(features_BLD.flip(1), step.layout)


NETWORKS = {
    "token_critic": ToyCritic(),
    "weaker": tiny_transformer(),
    "self_guidance": ToyModule(),
}


@pytest.fixture
def generator() -> Generator:
    return replace(tiny_generator(), aux=AuxiliaryNetworks(loaded=dict(NETWORKS)))


def ids_of(generator: Generator, settings: dict[str, Any]) -> Tensor:
    (job,) = generator.jobs(["dog", "cat", "ship"], **settings)
    return last(generator.decode(job, generator.blank(job))).ids_BL


GUIDED = {"steps": 4, "schedule": "linear", "guidance_scale": 2.0}


@pytest.mark.parametrize(
    ("settings", "forwards"),
    [
        ({"steps": 4}, 4),
        (GUIDED, 8),
        ({**GUIDED, "guidance_method": "self_guidance"}, 8),
        ({**GUIDED, "guidance_method": "autoguidance"}, 8),
        ({**GUIDED, "guidance_refresh": 2}, 6),
        ({**GUIDED, "corrections": ("zigzag",)}, 2 * 7 + 3),
        ({"steps": 4, "order": "critic"}, 8),
        ({"steps": 4, "order": "halton", "accelerators": ("local_steps:4",)}, 4),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_each_pass_of_each_network_counts(
    generator: Generator, settings: dict[str, Any], forwards: int
) -> None:
    meter = CostMeter()
    found_BL = ids_of(meter.metered(generator), settings)
    assert meter.forwards == 3 * forwards
    assert torch.equal(found_BL, ids_of(generator, settings))
    assert meter.forwards == 3 * forwards, "the generator itself is counted, too"


def test_spatial_guidance_counts_its_attention_pass(generator: Generator) -> None:
    meter = CostMeter()
    ids_of(meter.metered(generator), {**GUIDED, "guidance_method": "spatial"})
    # the first step has no visible token, so it has no second pass
    assert 3 * 4 <= meter.forwards <= 3 * 7
    assert meter.forwards % 3 == 0


def test_a_pass_that_fails_is_counted_no_further() -> None:
    meter = CostMeter()

    def fail(_ids_BL: Tensor) -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        meter.counted(fail)(torch.zeros(2, 1))
    assert meter.counted(len)(torch.zeros(3, 1)) == 3
    assert meter.forwards == 5


def test_time_is_added_up() -> None:
    meter = CostMeter()
    for _ in range(2):
        with meter.timing():
            sum(range(10**5))
    assert meter.seconds > 0
    assert meter.cpu_seconds > 0

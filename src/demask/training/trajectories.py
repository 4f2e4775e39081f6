"""Inputs and features of a model in every step of decoding, as training data.

Shape legend: N images, P passes of guidance (conditional first), T steps, L ids, S sequence of
the model's features, D width, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from demask import rng
from demask.conditioning import ConditionInput
from demask.generator import Generator, Job
from demask.guidance.classifier_free import twice
from demask.sampling.decode import decode, last
from demask.types import Condition, Prediction, Step, TokenLayout

AT_ONCE = 32
"""Images of a batch."""


@dataclass(frozen=True)
class Trajectories:
    """All decoding steps of some images, in memory.

    Attributes:
        ids_NTL: the ids before each step.
        features_NPTSD: the last hidden states of each pass, bfloat16.
        conditions: the condition of each pass, for all images.
        scale_T: the guidance scale of each step.
        layout: of the ids.
    """

    ids_NTL: Tensor
    features_NPTSD: Tensor
    conditions: tuple[Condition, ...]
    scale_T: Tensor
    layout: TokenLayout

    def __len__(self) -> int:
        return len(self.ids_NTL)


def sampled(
    generator: Generator,
    condition_inputs: Sequence[ConditionInput] | None,
    count: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Trajectories:
    """Generate images with the generator's settings and record each step.

    Args:
        generator: the model, with classifier-free guidance or none; every step makes all passes.
        condition_inputs: conditions, used in turn; None = the defaults of the model.
        count: number of images.
        seed: seed of the first image.
        progress: called with the number of images done.

    Raises:
        ValueError: another kind of guidance.
    """
    settings = generator.settings
    method = settings.guidance_method.partition(":")[0]
    if settings.guidance_scale != 1 and method != "classifier_free":
        raise ValueError(
            f"a shortcut is trained under classifier_free guidance or none, not {method}"
        )
    parts = []
    for job in generator.jobs(condition_inputs, count, seed, AT_ONCE):
        parts.append(one_batch(generator, job))
        progress(sum(len(part) for part in parts))
    steps = min(part.ids_NTL.shape[1] for part in parts)
    first = parts[0]
    return Trajectories(
        torch.cat([part.ids_NTL[:, :steps] for part in parts]),
        torch.cat([part.features_NPTSD[:, :, :steps] for part in parts]),
        tuple(
            Condition.join([part.conditions[p] for part in parts])
            for p in range(len(first.conditions))
        ),
        first.scale_T[:steps],
        first.layout,
    )


def one_batch(generator: Generator, job: Job) -> Trajectories:
    """The trajectories of a batch."""
    condition, scale = generator.job_condition(job), job.settings.scale
    conditions = [condition]
    if job.settings.guidance_scale != 1:
        nothing = generator.reference(job.settings)
        conditions.append(nothing.take(torch.zeros(len(job.seeds), dtype=torch.long)))
    ids: list[Tensor] = []
    features: list[Tensor] = []
    scales: list[float] = []

    def predict(ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        both = step if len(conditions) == 1 else twice(step)
        ids_XL = torch.cat([ids_BL] * len(conditions))
        found = generator.transformer.predict(ids_XL, Condition.join(conditions), both)
        assert found.features is not None
        ids.append(ids_BL.cpu())
        features.append(torch.stack(found.features.chunk(len(conditions)), dim=1).bfloat16().cpu())
        scales.append(float(scale(step)))
        logits = found.logits_BLV.chunk(len(conditions))
        guided_BLV = logits[-1] + scales[-1] * (logits[0] - logits[-1])
        return Prediction(guided_BLV, found.features[: len(ids_BL)])

    canvas = generator.blank(job)
    generators = rng.image_generators(job.seeds)
    sampler = generator.sampler(job.settings)
    last(decode(predict, condition, canvas, generators, replace(sampler, corrections=())))
    return Trajectories(
        torch.stack(ids, dim=1),
        torch.stack(features, dim=2),
        tuple(one.to("cpu") for one in conditions),
        torch.tensor(scales),
        job.layout,
    )

"""A batch whose logits differ from those of its images alone still gives the same images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demask.batching.batched_decode import BatchedDecode
from demask.batching.invariance import Rounding
from demask.transformer.protocols import SupportsPreLogits, supports
from demask.types import Condition, Prediction, Step
from tiny import tiny_generator

SEEDS = list(range(24))


class Rounds(nn.Module):
    """A transformer that rounds differently in a batch, far more than real ones do."""

    def __init__(self, inner: Any, error: float) -> None:
        super().__init__()
        self.inner, self.error = inner, error

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "error", "_modules", "_parameters", "_buffers"):
            return super().__getattr__(name)
        return getattr(self.inner, name)

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        logits_BLV = self.inner.predict(ids_BL, condition, step).logits_BLV
        if len(ids_BL) > 1:
            logits_BLV = logits_BLV + self.error * torch.sin(1e4 * logits_BLV)
        return Prediction(logits_BLV)


@pytest.mark.parametrize(("order", "error"), [("confidence", 0.003), ("halton", 0.03)])
def test_near_ties_are_decided_as_if_alone(order: str, error: float) -> None:
    tiny = tiny_generator()
    generator = replace(tiny, transformer=Rounds(tiny.transformer, error))
    chosen = {"steps": 8, "order": order, "choice_temperature": 1.0, "schedule": "linear"}
    (job,) = generator.jobs(["dog", "cat", "ship"], seed=SEEDS, **chosen)
    batch = BatchedDecode.start(generator, job, generator.job_condition(job), Rounding())
    repeated = 0
    while not batch.done:
        batch.step()
        repeated += batch.repeated
    alone = generator.generate(["dog", "cat", "ship"], seed=SEEDS, batch_size=1, **chosen)
    shared = generator.generate(["dog", "cat", "ship"], seed=SEEDS, **chosen)
    pixels = [image.image.tobytes() for image in batch.finish()]
    assert pixels == [image.image.tobytes() for image in alone]
    assert pixels != [image.image.tobytes() for image in shared], "no decision was near a tie"
    assert 0 < repeated < 8 * len(SEEDS)


@pytest.mark.parametrize("accelerator", ["local_steps:2,full=1", "token_merging:0.25"])
def test_accelerators_see_the_blocks_of_a_guided_transformer(accelerator: str) -> None:
    """Guidance before the output matrix wraps the transformer, in which there are no blocks."""
    generator = tiny_generator()
    assert supports(generator.transformer, SupportsPreLogits)
    chosen = {"steps": 4, "guidance_scale": 2.0, "accelerators": accelerator}
    (job,) = generator.jobs("cat", seed=3, **chosen)
    batch = BatchedDecode.start(generator, job, generator.job_condition(job), Rounding())
    while not batch.done:
        batch.step()
    (alone,) = generator.generate("cat", seed=3, **chosen)
    assert [image.image.tobytes() for image in batch.finish()] == [alone.image.tobytes()]

"""The decode loop (MaskGIT, arXiv 2202.04200, section 3.2).

The loop starts from a grid of masked tokens. Each step predicts the masked tokens, draws a code
for each, keeps the codes that the selection order selects and masks the others again, until no
token is masked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from demask.rng import Generators
from demask.sampling.edit import Canvas
from demask.sampling.sampler import Sampler
from demask.sampling.stepper import Stepper
from demask.types import Condition, DecodeState, Predict


@torch.no_grad()
def decode(
    predict: Predict,
    condition: Condition,
    canvas: Canvas,
    generators: Generators,
    sampler: Sampler,
    first: int = 0,
) -> Iterator[DecodeState]:
    """Fill in the masked tokens of ``canvas``; yield the state after each step.

    Args:
        predict: the model, with or without guidance.
        condition: what each image should show.
        canvas: where to start.
        generators: one random generator per image.
        sampler: the settings.
        first: index of the first step; the steps before it are left out. The schedule then counts
            all tokens of the canvas, as if the loop had made these steps.

    Raises:
        ValueError: a number of steps below 1 or above the number of tokens, another number of
            generators than images, or a sampler that does not fit the guidance.
    """
    stepper, state = Stepper.start(predict, condition, canvas, generators, sampler, first)
    for index in range(first, sampler.steps):
        state = stepper.step(state, replace(state.step, index=index))
        yield state
        if stepper.finished(state):
            return


def last(states: Iterable[DecodeState]) -> DecodeState:
    """The result of a decode: its last state; earlier states are not kept in memory."""
    return deque(states, maxlen=1)[0]

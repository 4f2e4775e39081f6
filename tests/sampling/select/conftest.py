from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from demask import rng
from demask.sampling.select import SelectionInput
from demask.types import Condition, Step, TokenLayout

MakeLook = Callable[..., SelectionInput]


@pytest.fixture
def make_look() -> MakeLook:
    """A look at a grid: ``make_look(p_BLV, count_B)``, everything open unless told otherwise."""

    def make(
        p_BLV: torch.Tensor,
        count_B: list[int],
        candidate_BL: torch.Tensor | None = None,
        index: int = 0,
        steps: int = 4,
        grid: tuple[int, int] | None = None,
        seeds: list[int] | None = None,
    ) -> SelectionInput:
        batch, tokens = p_BLV.shape[:2]
        step = Step(index, steps, TokenLayout(grid or (1, tokens)), torch.ones(batch))
        return SelectionInput(
            step,
            p_BLV.argmax(-1),
            torch.ones(batch, tokens).bool() if candidate_BL is None else candidate_BL,
            torch.tensor(count_B),
            rng.image_generators(seeds or list(range(batch))),
            Condition({"class_ids": torch.arange(batch)}),
            p_BLV.log(),
        )

    return make

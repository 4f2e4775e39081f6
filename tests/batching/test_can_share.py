"""Orders, guidances and corrections declare whether images may share a batch; plug-ins as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from demask import rng
from demask.batching.batched_decode import BatchedDecode
from demask.batching.invariance import Rounding, can_share
from demask.guidance import GUIDANCES
from demask.guidance.classifier_free import ClassifierFree
from demask.registry import Table
from demask.sampling.context import DecodeContext
from demask.sampling.correction import CORRECTIONS, Correction
from demask.sampling.select import ORDERS, Confidence, Order, SelectionInput, Stage
from demask.settings import Settings
from demask.types import DecodeState
from tiny import tiny_generator


@dataclass(frozen=True)
class Rim(Order):
    """The positions in the middle of the grid last."""

    stage: ClassVar[Stage] = "positions"
    unbiased: ClassVar[bool] = True
    can_share: ClassVar[bool] = True

    def __call__(self, selection: SelectionInput) -> Tensor:
        place_L = torch.arange(selection.candidate_BL.shape[1])
        score_L = (place_L - place_L.double().mean()).abs()
        return selection.top(score_L.expand(selection.candidate_BL.shape))


@dataclass(frozen=True)
class Boldest(Order):
    """The least likely draws first."""

    stage: ClassVar[Stage] = "draw"
    unbiased: ClassVar[bool] = False

    def __call__(self, selection: SelectionInput) -> Tensor:
        drawn_R = selection.ids_BL[selection.candidate_BL]
        log_p_R = selection.logits_RV.log_softmax(-1).gather(-1, drawn_R[:, None])[:, 0]
        return selection.top(selection.scatter(-log_p_R, 0))


@dataclass(frozen=True)
class MaskFirst(Correction):
    """Masks some decoded tokens again, by position and chance alone."""

    strength: float = 0.3
    may_remask: ClassVar[bool] = True
    can_share: ClassVar[bool] = True

    def revise(self, state: DecodeState, context: DecodeContext) -> DecodeState:
        if state.step.progress == 1:
            return state
        chance_BL = rng.uniform(context.generators, state.ids_BL.shape[1])
        again_BL = state.decoded_BL & (chance_BL < self.strength)
        ids_BL = state.ids_BL.masked_fill(again_BL, state.mask_id)
        return replace(state, ids_BL=ids_BL, unmasked_now_BL=state.unmasked_now_BL & ~again_BL)


@dataclass(frozen=True)
class Foreign(ClassifierFree):
    """A guidance that does not share."""

    can_share: ClassVar[bool] = False


@pytest.fixture
def plugins() -> Iterator[None]:
    rows: list[tuple[Table[Any], str, Any]] = [
        (ORDERS, "rim", Rim),
        (ORDERS, "boldest", Boldest),
        (CORRECTIONS, "mask_first", MaskFirst),
        (GUIDANCES, "foreign", Foreign),
    ]
    for table, name, row in rows:
        table.add(name, row)
    yield
    for table, name, _ in rows:
        del table._rows[name]


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, True),
        ({"order": "random"}, True),
        ({"order": "rim"}, True),
        ({"order": "boldest"}, False),
        ({"corrections": ("mask_first",)}, True),
        ({"corrections": ("mask_first", "momentum")}, False),
        ({"guidance_method": "foreign"}, True),  # guidance is off
        ({"guidance_method": "foreign", "guidance_scale": 2.0}, False),
        ({"guidance_method": "autoguidance", "guidance_scale": 2.0}, True),
        ({"guidance_refresh": 2, "guidance_scale": 2.0}, False),
    ],
)
@pytest.mark.usefixtures("plugins")
def test_settings_share_if_all_of_their_parts_say_so(
    settings: dict[str, Any], shares: bool
) -> None:
    assert can_share(Settings(**settings)) is shares


@pytest.mark.parametrize("near_ties", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{"order": "rim"}, {"order": "random"}, {"corrections": ("mask_first",)}],
    ids=["rim", "random", "mask_first"],
)
@pytest.mark.usefixtures("plugins")
def test_what_shares_gives_the_same_images_as_alone(
    settings: dict[str, Any], near_ties: bool
) -> None:
    """With a large tolerance most images repeat their steps alone; the others never do."""
    generator, seeds = tiny_generator(), list(range(6))
    chosen = {"steps": 6, "guidance_scale": 2.0, **settings}
    (job,) = generator.jobs(["dog", "cat", "ship"], seed=seeds, **chosen)
    rounding = Rounding(seen=0.01 if near_ties else 0.0)
    batch = BatchedDecode.start(generator, job, generator.job_condition(job), rounding)
    repeated = 0
    while not batch.done:
        batch.step()
        repeated += batch.repeated
    assert (repeated > len(seeds)) is near_ties
    alone = generator.generate(["dog", "cat", "ship"], seed=seeds, batch_size=1, **chosen)
    assert [image.image.tobytes() for image in batch.finish()] == [
        image.image.tobytes() for image in alone
    ]


@pytest.mark.usefixtures("plugins")
def test_what_does_not_share_is_refused() -> None:
    generator = tiny_generator()
    (job,) = generator.jobs(["dog", "cat"], order="boldest")
    with pytest.raises(ValueError, match="one at a time"):
        BatchedDecode.start(generator, job, generator.job_condition(job), Rounding())


def test_an_order_cannot_declare_what_does_not_hold() -> None:
    with pytest.raises(TypeError, match="Careless cannot declare can_share"):

        class Careless(Boldest):
            can_share: ClassVar[bool] = True

    with pytest.raises(TypeError, match="Fickle cannot declare can_share"):

        class Fickle(Confidence):
            may_remask: ClassVar[bool] = True

    with pytest.raises(TypeError, match="Sharp cannot declare can_share"):

        class Sharp(Rim):
            def transform_logits(self, logits_RV: Tensor) -> Tensor:
                return 2 * logits_RV
